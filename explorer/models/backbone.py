"""A loaded Vision Transformer: its weights, its token layout and how it wants its pixels."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn

from explorer.data.images import ImageSource, open_image
from explorer.models.facts import ModelFacts
from explorer.models.formats.labels import Outputs
from explorer.models.geometry import Geometry
from explorer.models.preprocess import Fit, check_fit, check_patches, check_size, normalise, to_pixels, usual_geometry
from explorer.models.source import ModelSource
from explorer.models.switches import exact_convolutions
from explorer.models.token_layout import check_tokens
from explorer.visitors.passes import only_pass


class Adapter(Protocol):
    """What differs between the libraries that models come from."""

    def forward(
        self, module: nn.Module, pixels: Float[Tensor, "image channel row col"]
    ) -> tuple[Float[Tensor, "image token width"], Float[Tensor, "image class"] | None]:
        """Tokens after the last norm, and logits, None where the model has no classifier."""
        ...

    def check_size(self, module: nn.Module, height: int, width: int) -> None:
        """Raise ImageError where the model can't take that input size."""
        ...


@dataclass(frozen=True, eq=False)
class Model:
    """A Vision Transformer in eval mode, ready to be recorded; shared between threads, so never changed."""

    name: str
    source: ModelSource  # what load_model takes to load the same model again
    module: nn.Module = field(repr=False)
    adapter: Adapter
    patch_size: int
    depth: int
    num_heads: int
    width: int
    prefix_tokens: tuple[str, ...]
    class_names: list[str] | None = field(repr=False)
    input_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"
    parallel: int = 1  # attentions side by side in each block; num_heads counts the heads of all
    geometry: Geometry | None = None  # how its own library fits photos; None: nobody says, so the centre square
    outputs: Outputs = "classes"  # of which one is right; labels, each by itself; or a number
    notes: Sequence[str] = field(default_factory=tuple)  # what the loader assumed or left out, one sentence each

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.module.parameters())

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """(height, width) in pixels of a model that takes only that, None of others."""
        return getattr(self.adapter, "fixed_size", None)

    @property
    def input_shape(self) -> tuple[int, int]:
        """(height, width) in pixels of the model's own size; a square but where it takes one oblong alone."""
        return self.fixed_size or (self.input_size, self.input_size)

    @property
    def facts(self) -> ModelFacts:
        """What is known of it without its weights."""
        return ModelFacts(
            self.name, self.source, self.patch_size, self.depth, self.num_heads, self.prefix_tokens,
            self.num_parameters, self.input_size, self.fixed_size, self.own_fit, tuple(self.notes),
        )  # fmt: skip

    def probabilities(self, logits: Float[Tensor, "*image classes"]) -> Float[Tensor, "*image classes"]:
        """What logits mean: shares of 1, each label's own probability, or the number itself."""
        if self.outputs == "number":
            return logits
        return logits.sigmoid() if self.outputs == "labels" else logits.softmax(-1)

    def class_name(self, index: int) -> str:
        """The name of a class, "class 3" where the model doesn't know its classes' names."""
        return self.class_names[index] if self.class_names else f"class {index}"

    @property
    def own_fit(self) -> Fit:
        """The plainest fit that does what the model's own library does: "crop", "squash", or "own" where neither."""
        own = self.geometry
        if own is None:
            return "crop"
        if own.is_whole and own.input == self.input_shape and (own.squash or own.library == "timm"):
            return "squash" if own.squash else "crop"
        return "own"

    def geometry_of(self, photo_size: tuple[int, int], size: int | None = None, fit: Fit = "own") -> Geometry:
        """What becomes of a photo of (width, height); arguments and errors as fit()."""
        check_fit(fit)
        size = self.input_size if size is None else size
        if self.geometry is not None and fit in ("own", self.own_fit):
            return self._own_geometry(self.geometry, size)
        fit = "crop" if fit == "own" else fit
        if fit != "keep" and self.input_shape != (size, size) and size == self.input_size:
            height, width = self.input_shape
            check_patches(width, height, self.patch_size)
            return Geometry.whole(self.input_shape, squash=fit == "squash")
        return usual_geometry(photo_size, size, self.patch_size, fit)

    def _own_geometry(self, own: Geometry, size: int) -> Geometry:
        check_size(size, self.patch_size)
        height, width = own.input if size == self.input_size else (size, size)
        check_patches(width, height, self.patch_size)
        if size == self.input_size:
            return own
        return own.at(size) if own.input[0] == own.input[1] else Geometry.whole((size, size), own.squash)

    def fit(self, image: ImageSource, size: int | None = None, fit: Fit = "own") -> Image.Image:
        """The RGB image exactly as the model will see it, both sides a multiple of patch_size.

        size: pixels of the short side (of both for crop and squash), None for the model's own. fit: "own", as the
        library that the model comes from fits photos for it, "crop", "squash" or "keep". Raises ImageError for an image
        that can't be read or a size that can't be had.
        """
        return self.fit_photo(open_image(image), size, fit)

    def fit_photo(self, photo: Image.Image, size: int | None = None, fit: Fit = "own") -> Image.Image:
        """fit() of a picture that open_image gave."""
        return self.geometry_of(photo.size, size, fit).apply(photo, self.interpolation)

    def preprocess(
        self, image: ImageSource, size: int | None = None, fit: Fit = "own"
    ) -> Float[Tensor, "1 channel row col"]:
        """fit(), normalised with the model's mean and standard deviation: what record() feeds.

        With neither size nor fit it is what timm's or transformers' own pipeline makes of the photo.
        """
        return to_pixels(self.fit(image, size, fit), self.mean, self.std)

    def normalise(self, pixels: UInt8[Tensor, "image row col channel"]) -> Float[Tensor, "image channel row col"]:
        """Fitted images as the model takes them, as preprocess() makes them, on the device where they are."""
        return normalise(pixels, self.mean, self.std)

    def pixels(self, fitted: Image.Image) -> Float[Tensor, "1 channel row col"]:
        """An image from fit(), normalised, on the model's device and in its weights' precision."""
        return to_pixels(fitted, self.mean, self.std).to(next(self.module.parameters()))

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """(rows, cols) of patches for an input of that height and width in pixels."""
        return height // self.patch_size, width // self.patch_size

    def forward(
        self, pixels: Float[Tensor, "image channel row col"]
    ) -> tuple[Float[Tensor, "image token width"], Float[Tensor, "image class"] | None]:
        """Tokens after the last norm, and logits, None where the model has no classifier."""
        with exact_convolutions, only_pass(str(self.device)):
            tokens, logits = self.adapter.forward(self.module, pixels)
        check_tokens(tokens.shape[1], self.prefix_tokens, self.grid(*pixels.shape[-2:]))
        return tokens, logits
