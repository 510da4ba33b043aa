"""What one forward pass leaves behind, and the look-ups that every map is made from."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Shaped
from PIL import Image
from torch import Tensor

from explorer.attention import weights
from explorer.attention.photo_part import PhotoPart
from explorer.attention.queries import Head, Query, default_query, token_indices
from explorer.attention.recorder import Call
from explorer.attention.targets import class_index
from explorer.errors import QueryError
from explorer.models.backbone import Model


@dataclass(frozen=True, eq=False, repr=False)
class RecordedPass:
    """What one forward pass of one image leaves behind: tokens, logits, and q and k of every layer."""

    model: Model
    image: Image.Image  # exactly what the model saw
    grid: tuple[int, int]  # (rows, cols) of patches
    tokens: np.ndarray  # (tokens, width) float32 after the model's last norm, prefix tokens first
    logits: np.ndarray | None  # (classes,) float32
    precision: str  # "float32" or "float16": how q, k and bias are kept
    calls: list[Call]  # one per layer
    part: PhotoPart  # of the photo, that the model saw
    norms: Tensor | None = None  # "layer token", depth + 1 layers; None where not known
    verified: bool = True  # whether the model is known to go on with what its attention returned

    def __repr__(self) -> str:
        rows, cols = self.grid
        size = f"{rows} x {cols} patches, {self.depth} layers, {self.num_heads} heads"
        return f"{type(self).__name__}({self.model.name}: {size})"

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
        return default_query(self.prefix_tokens)

    @property
    def feature(self) -> Float[np.ndarray, " width"]:
        """What stands for the whole image: the cls token after the last norm, else the mean patch token."""
        return self.tokens[self.query_indices(None)].mean(axis=0)

    @property
    def probabilities(self) -> Float[np.ndarray, " class"] | None:
        """float64, as Model.probabilities() reads the logits: shares of 1, each label's own, or the number itself.

        None where the model has no classes.
        """
        if self.logits is None:
            return None
        return self.model.probabilities(torch.from_numpy(self.logits).double()).numpy()

    def class_index(self, target: int | str | None) -> int:
        """The index of a class given by index or name; None: the predicted one. Raises QueryError as class_index()."""
        if self.logits is None:
            raise QueryError(f"{self.model_name} has no classes.")
        if target is None:
            return int(self.logits.argmax())
        return class_index(target, self.model.class_names, len(self.logits))

    def check_one_attention(self) -> None:
        """Raise QueryError where a layer is several attentions side by side: what looks into layers can't tell them."""
        if self.model.parallel > 1:
            raise QueryError(
                f"Each layer of {self.model_name} is {self.model.parallel} attentions side by side, which this has "
                "no formula for: ask for attention, rollout, occlusion or integrated_gradients."
            )

    def call(self, layer: int) -> Call:
        """q, k, scale and bias of a layer as they are kept; negatives count from the end. Raises QueryError."""
        self.check_layer(layer)
        return self.calls[layer]

    def q(self, layer: int) -> Float[Tensor, "head token dim"]:
        """q of a layer, float32, after q norm and rotary embedding."""
        return self.call(layer).q.float()

    def k(self, layer: int) -> Float[Tensor, "head token dim"]:
        """k of a layer, float32, after k norm and rotary embedding."""
        return self.call(layer).k.float()

    def scale(self, layer: int) -> float:
        """What q k^T is multiplied with before softmax."""
        return self.call(layer).scale

    def bias(self, layer: int) -> Float[Tensor, "head query key"] | None:
        """What the layer adds to its scores before softmax, as it is kept, or None.

        The head and query axes are 1 where all share it.
        """
        return self.call(layer).bias

    def query_indices(self, query: Query | None) -> list[int]:
        """Token indices of a query; several for "mean". Raises QueryError for one that the recording doesn't hold."""
        return token_indices(self.default_query if query is None else query, self.prefix_tokens, self.grid)

    def rows(self, layer: int, query: Query | None = None) -> Float[np.ndarray, "head token"]:
        """softmax(q k^T) of one query for all heads and all keys, float32; rows sum to 1."""
        return self.head_rows(layer, query).cpu().numpy()

    def heads(self, layer: int, query: Query | None = None) -> Float[np.ndarray, "head row col"]:
        """All heads of a layer from one query, float32, patches only, not renormalised."""
        return self.on_patches(self.head_rows(layer, query)).cpu().numpy()

    def matrix(self, layer: int, head: Head = "mean", kind: str = "pattern") -> Float[np.ndarray, "token token"]:
        """All queries of one layer: float32, the pattern after softmax or the scores before it."""
        if kind not in ("pattern", "scores"):
            raise QueryError(f"A matrix is of kind pattern or scores, not {kind!r}.")
        call, softmax = self.call(layer), kind == "pattern"
        blocks = torch.arange(call.k.shape[1], device=call.k.device).split(weights.BLOCK)
        if isinstance(head, str):
            return torch.cat([call.fused_rows(block, head, softmax) for block in blocks]).cpu().numpy()
        one = call.head(self._head_index(head))
        return torch.cat([one.fused_rows(block, "mean", softmax) for block in blocks]).cpu().numpy()

    def token_norms(self, layer: int) -> Float[np.ndarray, " token"]:
        """L2 norm of the residual stream entering a layer; layer == depth: after the last block."""
        if self.norms is None:
            raise QueryError("This model's layers don't add to one residual stream, so its token norms aren't known.")
        self._check_layer(layer, self.depth + 1)
        return self.norms[layer if layer >= 0 else layer - 1].cpu().numpy()

    def check_layer(self, layer: int) -> None:
        """Raise QueryError for a layer that the model doesn't have; negatives count from the end."""
        self._check_layer(layer, self.depth)

    def check_head(self, head: Head) -> None:
        """Raise QueryError for a head that the model doesn't have; "mean", "max" and "min" fuse all of a layer."""
        if isinstance(head, str):
            weights.check_fusion(head)
        else:
            self._head_index(head)

    def _check_layer(self, layer: int, count: int) -> None:
        if not isinstance(layer, (int, np.integer)) or not -self.depth <= layer < count:
            raise QueryError(f"This model has layers 0 to {self.depth - 1}; {layer!r} is none of them.")

    def _head_index(self, head: Head) -> int:
        if not isinstance(head, (int, np.integer)) or not 0 <= head < self.num_heads:
            known = f"heads 0 to {self.num_heads - 1}, their mean, max and min"
            raise QueryError(f"This model has {known}; {head!r} is none of them.")
        return int(head)

    def pick_head(self, heads: Float[Tensor, "head ..."], head: Head) -> Float[Tensor, "..."]:
        """One head by its index, or all by their mean, max or min."""
        return weights.fuse(heads, head) if isinstance(head, str) else heads[self._head_index(head)]

    def head_rows(self, layer: int, query: Query | None) -> Float[Tensor, "head token"]:
        """Of one query, or the mean over patch queries, computed in blocks of queries."""
        call, indices = self.call(layer), torch.tensor(self.query_indices(query), device=self.calls[0].k.device)
        if len(indices) == 1:
            return call.pattern(indices)[:, 0]
        total = torch.zeros(call.q.shape[0], call.k.shape[1], device=call.k.device, dtype=torch.float32)
        for block in indices.split(weights.BLOCK):
            for head, rows in enumerate(call.each_head(block)):
                total[head] += rows.sum(dim=0)
        return total / len(indices)

    def on_patches(self, row: Shaped[Tensor, "... token"]) -> Shaped[Tensor, "... row col"]:
        """Without the prefix tokens."""
        return row[..., len(self.prefix_tokens) :].unflatten(-1, self.grid)
