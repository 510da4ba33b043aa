"""Record once, then ask: q and k of every layer of one forward pass, and every map that follows from them."""

from dataclasses import dataclass, field
from operator import index

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from explorer.attention import maps
from explorer.attention.photo_part import PhotoPart, photo_part
from explorer.attention.recorder import AttentionRecorder, Call
from explorer.attention.relevance import relevance
from explorer.attention.rollout import rollout
from explorer.attention.switches import visible_attention
from explorer.data.images import ImageSource, open_image
from explorer.errors import ExplorerError, QueryError, RecordingError
from explorer.models.backbone import Model
from explorer.models.preprocess import Fit

BYTE_BUDGET = 512 * 2**20  # above it, q and k are kept in float16
Query = str | tuple[int, int]
Head = int | str


@dataclass(frozen=True, eq=False)
class Recording:
    """One image seen by one model: its tokens, logits and the attention of every layer, head and query."""

    model: Model
    image: Image.Image  # exactly what the model saw
    grid: tuple[int, int]  # (rows, cols) of patches
    tokens: np.ndarray  # (tokens, width) float32 after the model's last norm, prefix tokens first
    logits: np.ndarray | None  # (classes,) float32
    precision: str  # "float32" or "float16": how q, k and bias are kept
    calls: list[Call] = field(repr=False)  # one a layer
    part: PhotoPart = field(repr=False)  # of the photo, that the model saw
    norms: Tensor | None = field(default=None, repr=False)  # "layer token", depth + 1 layers; None where not known

    @property
    def depth(self) -> int:
        return len(self.calls)

    @property
    def num_heads(self) -> int:
        return self.calls[0].q.shape[0]

    @property
    def patch_size(self) -> int:
        return self.model.patch_size

    @property
    def prefix_tokens(self) -> tuple[str, ...]:
        return self.model.prefix_tokens

    @property
    def model_name(self) -> str:
        return self.model.name

    @property
    def default_query(self) -> str:
        return "cls" if "cls" in self.prefix_tokens else "mean"

    def call(self, layer: int) -> Call:
        """q, k, scale and bias of a layer as they are kept; negatives count from the end. Raises QueryError."""
        self._check_layer(layer, self.depth)
        return self.calls[layer]

    def q(self, layer: int) -> Tensor:
        """q of a layer, "head token dim" float32, after q norm and rotary embedding."""
        return self.call(layer).q.float()

    def k(self, layer: int) -> Tensor:
        """k of a layer, "head token dim" float32, after k norm and rotary embedding."""
        return self.call(layer).k.float()

    def scale(self, layer: int) -> float:
        """What q k^T is multiplied with before softmax."""
        return self.call(layer).scale

    def bias(self, layer: int) -> Tensor | None:
        """What the layer adds to its scores before softmax, "head token token" as it is kept, or None.

        The head and query axes are 1 where all share it.
        """
        return self.call(layer).bias

    def query_indices(self, query: Query | None) -> list[int]:
        """Token indices of a query; several for "mean". Raises QueryError for one that the recording doesn't hold."""
        query = self.default_query if query is None else query
        prefix, (rows, cols) = len(self.prefix_tokens), self.grid
        if query == "mean":
            return list(range(prefix, prefix + rows * cols))
        if isinstance(query, str):
            if query not in self.prefix_tokens:
                known = ", ".join((*self.prefix_tokens, "mean"))
                raise QueryError(f"This model has no {query!r} token; ask from {known} or a patch (row, col).")
            return [self.prefix_tokens.index(query)]
        try:
            row, col = (index(number) for number in query)
        except (TypeError, ValueError) as error:
            raise QueryError(f"A patch is asked for as (row, col), two whole numbers, not {query!r}.") from error
        if not (0 <= row < rows and 0 <= col < cols):
            raise QueryError(f"Patch {row}, {col} lies outside the grid of {rows} rows and {cols} columns.")
        return [prefix + row * cols + col]

    def rows(self, layer: int, query: Query | None = None) -> np.ndarray:
        """softmax(q k^T) of one query for all heads and all keys, (head, tokens) float32; rows sum to 1."""
        return self._rows(layer, query).cpu().numpy()

    def heads(self, layer: int, query: Query | None = None) -> np.ndarray:
        """All heads of a layer from one query, (head, rows, cols) float32, patches only, not renormalised."""
        return self._patches(self._rows(layer, query)).cpu().numpy()

    def attention(self, layer: int, head: Head = "mean", query: Query | None = None) -> np.ndarray:
        """Where one query looks in one layer: (rows, cols) float32 softmax weights on the patches, not renormalised.

        layer: negatives count from the end; head: an index, "mean", "max" or "min"; query: a prefix token's name,
        (row, col) of a patch, or "mean" over all patch queries (the default where a model has no cls token).
        """
        return self._patches(self._fused(self._rows(layer, query), head)).cpu().numpy()

    def matrix(self, layer: int, head: Head = "mean", kind: str = "pattern") -> np.ndarray:
        """All queries of one layer: (tokens, tokens) float32, the pattern after softmax or the scores before it."""
        if kind not in ("pattern", "scores"):
            raise QueryError(f"A matrix is of kind pattern or scores, not {kind!r}.")
        call, softmax = self.call(layer), kind == "pattern"
        blocks = torch.arange(call.k.shape[1], device=call.k.device).split(maps.BLOCK)
        if isinstance(head, str):
            return torch.cat([call.fused(block, head, softmax) for block in blocks]).cpu().numpy()
        one = call.head(self._head_index(head))
        return torch.cat([one.fused(block, "mean", softmax) for block in blocks]).cpu().numpy()

    def rollout(
        self, query: Query | None = None, fusion: str = "mean", discard_ratio: float = 0.0, start_layer: int = 0
    ) -> np.ndarray:
        """Attention rollout (Abnar & Zuidema 2020) from one query: (rows, cols) float32, patches only."""
        index = self.query_indices(query)
        row = rollout(self, index, fusion, discard_ratio, start_layer)
        return self._patches(row).float().cpu().numpy()

    def relevance(
        self,
        target: int | str | None = None,
        similar_to: "Recording | tuple[int, int] | None" = None,
        start_layer: int = 0,
    ) -> np.ndarray:
        """Gradient-weighted relevance (Chefer et al. 2021) for a class: (rows, cols) float32, patches only.

        target: class index or name, None for the predicted class; similar_to, for models without classes: the score is
        the similarity of the image's feature to that of another recording or to the token of a patch (row, col).
        """
        return self._patches(relevance(self, target, similar_to, start_layer)).cpu().numpy()

    def mass_mask(self, layer: int, head: Head = "mean", mass: float = 0.6, query: Query | None = None) -> np.ndarray:
        """The smallest set of patches that holds `mass` of the shown map, bool (rows, cols), as DINO's --threshold."""
        return maps.mass_mask(torch.from_numpy(self.attention(layer, head, query)), mass).numpy()

    def token_norms(self, layer: int) -> np.ndarray:
        """(tokens,) L2 norm of the residual stream entering a layer; layer == depth: after the last block."""
        if self.norms is None:
            raise QueryError("This model's layers don't add to one residual stream, so its token norms aren't known.")
        self._check_layer(layer, self.depth + 1)
        return self.norms[layer if layer >= 0 else layer - 1].cpu().numpy()

    def _check_layer(self, layer: int, count: int) -> None:
        if not isinstance(layer, (int, np.integer)) or not -self.depth <= layer < count:
            raise QueryError(f"This model has layers 0 to {self.depth - 1}; {layer!r} is none of them.")

    def _head_index(self, head: Head) -> int:
        if not isinstance(head, (int, np.integer)) or not 0 <= head < self.num_heads:
            known = f"heads 0 to {self.num_heads - 1}, their mean, max and min"
            raise QueryError(f"This model has {known}; {head!r} is none of them.")
        return int(head)

    def _fused(self, heads: Tensor, head: Head) -> Tensor:
        return maps.fuse(heads, head) if isinstance(head, str) else heads[self._head_index(head)]

    def _rows(self, layer: int, query: Query | None) -> Tensor:
        """ "head token" of one query, or the mean over patch queries, computed in blocks of queries."""
        call, indices = self.call(layer), torch.tensor(self.query_indices(query), device=self.calls[0].k.device)
        if len(indices) == 1:
            return call.pattern(indices)[:, 0]
        total = torch.zeros(call.q.shape[0], call.k.shape[1], device=call.k.device, dtype=torch.float32)
        for block in indices.split(maps.BLOCK):
            for head, rows in enumerate(call.each_head(block)):
                total[head] += rows.sum(dim=0)
        return total / len(indices)

    def _patches(self, weights: Tensor) -> Tensor:
        """ "... token" -> "... row col" without the prefix tokens."""
        return weights[..., len(self.prefix_tokens) :].unflatten(-1, self.grid)


@torch.no_grad()
def record(
    model: Model, image: ImageSource, size: int | None = None, fit: Fit = "crop", byte_budget: int = BYTE_BUDGET
) -> Recording:
    """One forward pass of the image, with q and k of every layer kept; the model, in eval mode, is left as it was.

    image: path, PIL image or HxWx3 uint8; size: pixels of the short side, a multiple of patch_size; fit: "crop",
    "squash" or "keep"; byte_budget: above it, q and k are kept in float16. Raises ImageError for a bad image or size,
    RecordingError where the self-check fails or the model's attention can't be seen.
    """
    if model.module.training:
        raise RecordingError(
            f"{model.name} is in training mode, where dropout changes it: call model.module.eval() first."
        )
    photo = open_image(image)
    fitted = model.fit_photo(photo, size, fit)
    model.adapter.check_size(model.module, fitted.height, fitted.width)
    grid = model.grid(fitted.height, fitted.width)
    recorder = AttentionRecorder(len(model.prefix_tokens) + grid[0] * grid[1], model.depth, byte_budget)
    tokens, logits = _forward(model, model.pixels(fitted), recorder)
    _check_layers(model, recorder)
    return Recording(
        model=model,
        image=fitted,
        grid=grid,
        tokens=tokens[0].float().cpu().numpy(),
        logits=None if logits is None else logits[0].float().cpu().numpy(),
        precision=str(recorder.dtype).removeprefix("torch."),
        calls=recorder.calls,
        part=photo_part(photo, fitted.size, fit),
        norms=recorder.stream.all_norms(),
    )


def _forward(model: Model, pixels: Tensor, recorder: AttentionRecorder) -> tuple[Tensor, Tensor | None]:
    """The model's forward pass under the recorder; what the model itself refuses becomes a RecordingError."""
    try:
        with visible_attention(model.module), recorder:
            return model.forward(pixels)
    except (AssertionError, RuntimeError, ValueError) as error:
        if isinstance(error, ExplorerError):
            raise
        raise RecordingError(
            f"{model.name} failed on {pixels.shape[3]}x{pixels.shape[2]} pixels ({' '.join(str(error).split())}): "
            f"try its own size, {model.input_size}."
        ) from error


def _check_layers(model: Model, recorder: AttentionRecorder) -> None:
    if len(recorder.calls) == model.depth:
        return
    shapes = sorted({"x".join(map(str, shape)) for shape in recorder.other_shapes})
    others = f" (others, as images x heads x queries x keys: {', '.join(shapes)})" if shapes else ""
    raise RecordingError(
        f"{model.name} made {len(recorder.calls)} attention calls over its {recorder.tokens} tokens where "
        f"{model.depth} layers were expected{others}: its attention can't be shown."
    )
