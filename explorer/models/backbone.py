"""A loaded Vision Transformer: its weights, its token layout and how it wants its pixels."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor, nn

from explorer.data.images import ImageSource
from explorer.models.layout import check_tokens
from explorer.models.preprocess import Fit, fit_image, to_pixels


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
    notes: Sequence[str] = field(default_factory=tuple)  # what the loader assumed or left out, one sentence each

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.module.parameters())

    def class_name(self, index: int) -> str:
        """The name of a class, "class 3" where the model doesn't know its classes' names."""
        return self.class_names[index] if self.class_names else f"class {index}"

    def fit(self, image: ImageSource, size: int | None = None, fit: Fit = "crop") -> Image.Image:
        """The RGB image exactly as the model will see it, both sides a multiple of patch_size.

        size: pixels of the short side (of both for crop and squash), None for the model's own. Raises ImageError for an
        image that can't be read or a size that can't be had.
        """
        return fit_image(image, self.input_size if size is None else size, self.patch_size, fit, self.interpolation)

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
