"""A loaded Vision Transformer: its weights, its token layout and how it wants its pixels."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor, nn

from explorer.data.images import ImageSource, open_image
from explorer.models.formats.labels import Outputs
from explorer.models.preprocess import Fit, fit_photo, fit_rectangle, to_pixels
from explorer.models.source import ModelSource
from explorer.models.token_layout import check_tokens


class Adapter(Protocol):
    """What differs between the libraries that models come from."""

    def forward(self, module: nn.Module, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """pixels "1 3 height width" -> tokens "1 token width" after the last norm, logits "1 class" or None."""
        ...

    def check_size(self, module: nn.Module, height: int, width: int) -> None:
        """Raise ImageError where the model can't take that input size."""
        ...


@dataclass(frozen=True, eq=False)
class Model:
    """A Vision Transformer in eval mode, ready to be recorded; shared between threads, so never changed."""

    name: str
    source: str
    module: nn.Module
    adapter: Adapter
    patch_size: int
    depth: int
    num_heads: int
    width: int
    prefix_tokens: tuple[str, ...]
    class_names: list[str] | None
    input_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"
    outputs: Outputs = "classes"  # of which one is right; labels, each by itself; or a number
    notes: Sequence[str] = field(default_factory=tuple)  # what the loader assumed or left out, one sentence each
    given: ModelSource | None = None  # what load_model was given; None for a model that was made by hand

    @property
    def loaded_from(self) -> ModelSource:
        """What load_model takes to load the same model again."""
        return self.given or ModelSource(self.source)

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.module.parameters())

    @property
    def input_shape(self) -> tuple[int, int]:
        """(height, width) in pixels of the model's own size; a square but where it takes one oblong alone."""
        return getattr(self.adapter, "fixed_size", None) or (self.input_size, self.input_size)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Logits "… class" as what they mean: shares of one, each label's own probability, or the number itself."""
        if self.outputs == "number":
            return logits
        return logits.sigmoid() if self.outputs == "labels" else logits.softmax(-1)

    def class_name(self, index: int) -> str:
        """The name of a class, "class 3" where the model doesn't know its classes' names."""
        return self.class_names[index] if self.class_names else f"class {index}"

    def fit(self, image: ImageSource, size: int | None = None, fit: Fit = "crop") -> Image.Image:
        """The RGB image exactly as the model will see it, both sides a multiple of patch_size.

        size: pixels of the short side (of both for crop and squash), None for the model's own. Raises ImageError for an
        image that can't be read or a size that can't be had.
        """
        return self.fit_photo(open_image(image), size, fit)

    def fit_photo(self, photo: Image.Image, size: int | None = None, fit: Fit = "crop") -> Image.Image:
        """fit() of a picture that open_image gave."""
        height, width = self.input_shape
        if height != width and fit != "keep" and size in (None, self.input_size):
            return fit_rectangle(photo, (width, height), fit, self.interpolation)
        return fit_photo(photo, self.input_size if size is None else size, self.patch_size, fit, self.interpolation)

    def preprocess(self, image: ImageSource, size: int | None = None, fit: Fit = "crop") -> Tensor:
        """ "1 3 height width" float32, normalised with the model's mean and standard deviation: what record() feeds."""
        return to_pixels(self.fit(image, size, fit), self.mean, self.std)

    def pixels(self, fitted: Image.Image) -> Tensor:
        """ "1 3 height width" of an image from fit(), on the model's device and in its weights' precision."""
        return to_pixels(fitted, self.mean, self.std).to(next(self.module.parameters()))

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """(rows, cols) of patches for an input of that height and width in pixels."""
        return height // self.patch_size, width // self.patch_size

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """pixels "1 3 height width" -> tokens "1 token width" after the last norm, logits "1 class" or None."""
        tokens, logits = self.adapter.forward(self.module, pixels)
        check_tokens(tokens.shape[1], self.prefix_tokens, self.grid(*pixels.shape[-2:]))
        return tokens, logits
