"""Record once, then ask: q and k of every layer of one forward pass, and every map that follows from them."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from explorer.attention.force_sdpa import visible_attention
from explorer.attention.ledger import Ledger, ledger
from explorer.attention.lens import TOP, Lens, lens
from explorer.attention.maps.kind import Progress
from explorer.attention.maps.table import MAP_KINDS, map_kind
from explorer.attention.mass import mass_mask
from explorer.attention.own_blocks import Follower, has_own_blocks
from explorer.attention.photo_part import photo_part
from explorer.attention.queries import Head, Query
from explorer.attention.recorded import RecordedPass
from explorer.attention.recorder import AttentionRecorder
from explorer.attention.scores import Likened, Target
from explorer.attention.step import Step, layer_pass
from explorer.data.images import ImageSource, open_image
from explorer.errors import ExplorerError, RecordingError
from explorer.models.backbone import Model
from explorer.models.device_memory import enough_memory
from explorer.models.preprocess import Fit

if TYPE_CHECKING:
    from explorer.attention.interventions.edits import Edit
    from explorer.attention.interventions.effect import Effect
    from explorer.attention.interventions.heads import HeadEffects

BYTE_BUDGET = 512 * 2**20  # above it, q and k are kept in float16
SMALLER = "record the image at a smaller size"


@dataclass(frozen=True, eq=False, repr=False)
class Recording(RecordedPass):
    """One image seen by one model: its tokens, logits and the attention of every layer, head and query."""

    @property
    def maps(self) -> tuple[str, ...]:
        """The kinds of map that can be asked of it, for map()."""
        return tuple(name for name, kind in MAP_KINDS.items() if kind.fits(self))

    def map(self, kind: str, progress: Progress | None = None, **settings: Any) -> Float[np.ndarray, "row col"]:
        """A map of any kind in explorer.attention.maps.table, float32; settings left out have defaults.

        progress: called by the kinds that take long, with how much is done and how much there is. Warns where a map
        that claims to add up to a score doesn't. Raises QueryError for an unknown kind or setting, and for a value that
        this recording can't take.
        """
        heatmap, note = self.map_with_note(kind, progress, **settings)
        if note:
            warnings.warn(note, stacklevel=2)
        return heatmap

    def map_with_note(
        self, kind: str, progress: Progress | None = None, **settings: Any
    ) -> tuple[Float[np.ndarray, "row col"], str]:
        """The map, and in place of the warning a sentence, "" where all is well."""
        row = map_kind(kind)
        checked = row.complete_settings(settings, self)
        if row.long:
            checked["progress"] = progress
        with enough_memory(f"compute {row.title} for {self.model_name}", SMALLER):
            made = row.compute(self, **checked)
        return (made, "") if isinstance(made, np.ndarray) else (made.heatmap, made.note)

    def attention(self, layer: int, head: Head = "mean", query: Query | None = None) -> Float[np.ndarray, "row col"]:
        """Where one query looks in one layer: (rows, cols) float32 softmax weights on the patches, not renormalised.

        layer: negatives count from the end; head: an index, "mean", "max" or "min"; query: a prefix token's name,
        (row, col) of a patch, or "mean" over all patch queries (the default where a model has no cls token).
        """
        return self.map("attention", layer=layer, head=head, query=query)

    def rollout(
        self, query: Query | None = None, fusion: str = "mean", discard_ratio: float = 0.0, start_layer: int = 0
    ) -> Float[np.ndarray, "row col"]:
        """Attention rollout (Abnar & Zuidema 2020) from one query: (rows, cols) float32, patches only."""
        return self.map("rollout", query=query, fusion=fusion, discard_ratio=discard_ratio, start_layer=start_layer)

    def relevance(
        self,
        target: Target = None,
        similar_to: Likened = None,
        start_layer: int = 0,
        balanced: bool = False,
    ) -> Float[np.ndarray, "row col"]:
        """Gradient-weighted relevance for a class: (rows, cols) float32, patches only.

        target: class index or name, None for the predicted class, two for their difference; similar_to, for models
        without classes: the score is the similarity of the image's feature to that of another recording or to the token
        of a patch (row, col); balanced: with balanced gradients, as map("relevance") has them by default; without, the
        rule is that of Chefer et al. 2021.
        """
        return self.map("relevance", target=target, similar_to=similar_to, start_layer=start_layer, balanced=balanced)

    def ledger(self, target: Target = None, similar_to: Likened = None) -> Ledger:
        """The exact account of a class's logit, of the difference of two, or of a likeness: all shares add up to it.

        Raises QueryError where the model's layers don't add to one residual stream, UnsupportedModelError where what
        follows the last layer isn't affine.
        """
        with enough_memory(f"compute the account of {self.model_name}", SMALLER):
            return ledger(self, target, similar_to)

    def step(self, layer: int, query: Query | None = None) -> Step:
        """One token through one layer in numbers: scores, pattern, values, heads, MLP, the token after it.

        layer: negatives count from the end; query: a prefix token's name or (row, col) of a patch; None: cls. Raises
        QueryError where the model's blocks aren't attention and an MLP on one residual stream. Many tokens of one
        layer: explorer.attention.step.layer_pass(), which runs the model once.
        """
        with enough_memory(f"look inside {self.model_name}", SMALLER):
            return layer_pass(self, layer).step(query)

    def lens(self, target: int | str | None = None, top: int = TOP) -> Lens:
        """What the classifier says of every token after every layer: its `top` classes, and the probability of one.

        target: that class, by index or name; None: the predicted one. Raises QueryError for a model without classes or
        without one residual stream.
        """
        with enough_memory(f"look inside {self.model_name}", SMALLER):
            return lens(self, target, top)

    def what_if(
        self,
        edits: "Sequence[Edit]",
        target: Target = None,
        similar_to: Likened = None,
        photos: Sequence[Image.Image] = (),
        second: Image.Image | None = None,
    ) -> "Effect":
        """The model's answer with some edits (explorer.attention.interventions.edits) beside its own.

        target, similar_to: as for relevance(); photos: those that edits to "mean" are over; second: where PutToken
        takes its tokens from; both as the model takes them (Model.fit). Raises QueryError for what can't be edited.
        """
        from explorer.attention.interventions.effect import what_if

        with enough_memory(f"run {self.model_name} once more", SMALLER):
            return what_if(self, edits, target, similar_to, photos, second)

    def measure_heads(
        self, target: Target = None, similar_to: Likened = None, progress: Progress | None = None
    ) -> "HeadEffects":
        """What every head does to a class, the difference of two or a likeness: each is switched off once."""
        from explorer.attention.interventions.heads import measure_heads  # statistics, slow to import

        with enough_memory(f"run {self.model_name} without its heads", SMALLER):
            return measure_heads(self, target, similar_to, progress)

    def mass_mask(
        self, layer: int, head: Head = "mean", mass: float = 0.6, query: Query | None = None
    ) -> Bool[np.ndarray, "row col"]:
        """The smallest set of patches that holds `mass` of the shown map, bool (rows, cols), as DINO's --threshold."""
        return mass_mask(self.attention(layer, head, query), mass)


@torch.no_grad()
def record(
    model: Model, image: ImageSource, size: int | None = None, fit: Fit = "own", byte_budget: int = BYTE_BUDGET
) -> Recording:
    """One forward pass of the image, with q and k of every layer kept; the model, in eval mode, is left as it was.

    image: path, PIL image or HxWx3 uint8; size: pixels of the short side, a multiple of patch_size; fit: "own", as the
    model's own library fits photos, "crop", "squash" or "keep"; byte_budget: above it, q and k are kept in float16.
    Raises ImageError for a bad image or size, RecordingError where the self-check fails or the model's attention can't
    be seen.
    """
    if model.module.training:
        raise RecordingError(
            f"{model.name} is in training mode, where dropout changes it: call model.module.eval() first."
        )
    photo = open_image(image)
    geometry = model.geometry_of(photo.size, size, fit)
    fitted = geometry.apply(photo, model.interpolation)
    model.adapter.check_size(model.module, fitted.height, fitted.width)
    grid = model.grid(fitted.height, fitted.width)
    follower = None if has_own_blocks(model.module) else Follower()
    count = len(model.prefix_tokens) + grid[0] * grid[1]
    recorder = AttentionRecorder(count, model.depth, byte_budget, follower, model.parallel)
    tokens, logits = _forward(model, model.pixels(fitted), recorder)
    _check_layers(model, recorder)
    norms = recorder.stream.all_norms()
    return Recording(
        model=model,
        image=fitted,
        grid=grid,
        tokens=tokens[0].float().cpu().numpy(),
        logits=None if logits is None else logits[0].float().cpu().numpy(),
        precision=str(recorder.dtype).removeprefix("torch."),
        calls=recorder.by_layer(),
        part=photo_part(photo, geometry),
        norms=norms,
        verified=follower is None or _is_followed(model, recorder, follower),
    )


def _is_followed(model: Model, recorder: AttentionRecorder, follower: Follower) -> bool:
    """Whether attention alone was seen to go from one residual stream back to it in every layer, and that to go on."""
    stream = recorder.stream
    alone = follower.found == model.depth and not follower.others
    return alone and stream.all_norms() is not None and stream.goes_on and not stream.altered


def _forward(model: Model, pixels: Tensor, recorder: AttentionRecorder) -> tuple[Tensor, Tensor | None]:
    """The model's forward pass under the recorder; what the model itself refuses becomes a RecordingError."""
    smaller = enough_memory(f"record {model.name} on {pixels.shape[3]}x{pixels.shape[2]} pixels", SMALLER)
    try:
        with smaller, visible_attention(model.module), recorder:
            return model.forward(pixels)
    except (AssertionError, RuntimeError, ValueError) as error:
        if isinstance(error, ExplorerError):
            raise
        raise RecordingError(
            f"{model.name} failed on {pixels.shape[3]}x{pixels.shape[2]} pixels ({' '.join(str(error).split())}): "
            f"try its own size, {model.input_size}."
        ) from error


def _check_layers(model: Model, recorder: AttentionRecorder) -> None:
    if len(recorder.calls) == recorder.layers:
        return
    shapes = sorted({"x".join(map(str, shape)) for shape in recorder.other_shapes})
    others = f" (others, as images x heads x queries x keys: {', '.join(shapes)})" if shapes else ""
    raise RecordingError(
        f"{model.name} made {len(recorder.calls)} attention calls over its {recorder.tokens} tokens where "
        f"{recorder.layers} were expected{others}: its attention can't be shown."
    )
