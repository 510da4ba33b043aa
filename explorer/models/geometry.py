"""Which part of a photo becomes a model's input, and at what size."""

from dataclasses import dataclass
from typing import Literal

from PIL import Image

RESAMPLING = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}
MOST_RESIZED = 4_000_000  # pixels of a resized photo that is made whole before its centre is cut out
Sides = tuple[int, int]  # (height, width) in pixels
Box = tuple[float, float, float, float]  # left, upper, right, lower


@dataclass(frozen=True)
class Geometry:
    """Resize a photo, then cut out its centre, as the pipelines of timm and transformers do.

    resize: what the photo becomes: exactly that with squash, else the smallest of its own aspect that covers it.
    crop: the centre that is cut out. input: what the model reads of it, from the upper left; a rim that makes no whole
    patch is left out. library: whose resampling and rounding; transformers resizes tensors and halves odd rims down,
    timm resizes Pillow's images and halves them to even.
    """

    resize: Sides
    crop: Sides
    input: Sides
    squash: bool = False
    library: Literal["timm", "transformers"] = "timm"

    @staticmethod
    def whole(sides: Sides, squash: bool) -> "Geometry":
        """The whole photo squashed to those sides, or as much of its centre as has their aspect."""
        return Geometry(sides, sides, sides, squash)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is cut off but what the aspect of the input makes necessary."""
        return self.resize == self.crop == self.input

    def at(self, size: int) -> "Geometry":
        """The same for a square input of another size, resized and cut in proportion."""
        scale = size / self.input[0]
        height, width = (round(side * scale) for side in self.resize)
        crop = (round(self.crop[0] * scale), round(self.crop[1] * scale))
        return Geometry((height, width), crop, (size, size), self.squash, self.library)

    def resize_sides(self, photo_size: tuple[int, int]) -> Sides:
        """What a photo of (width, height) is resized to, in whole pixels as torchvision and timm round them."""
        width, height = photo_size
        if self.squash:
            return self.resize
        if self.resize[0] == self.resize[1]:
            short = min(photo_size)
            return int(self.resize[0] * height / short), int(self.resize[1] * width / short)
        ratio = min(height / self.resize[0], width / self.resize[1])
        return round(height / ratio), round(width / ratio)

    def pixel_box(self, photo_size: tuple[int, int]) -> Box:
        """The part that the model sees of a photo of (width, height), in the photo's own pixels."""
        width, height = photo_size
        rows, cols = self.resize_sides(photo_size)
        upper, left = self._half(rows - self.crop[0]), self._half(cols - self.crop[1])
        return (
            left * width / cols,
            upper * height / rows,
            (left + self.input[1]) * width / cols,
            (upper + self.input[0]) * height / rows,
        )

    def _half(self, rim: int) -> int:
        return rim // 2 if self.library == "transformers" else round(rim / 2)

    def box(self, photo_size: tuple[int, int]) -> Box:
        """pixel_box as shares of the photo's sides."""
        width, height = photo_size
        left, upper, right, lower = self.pixel_box(photo_size)
        return left / width, upper / height, right / width, lower / height

    def cut_off(self, photo_size: tuple[int, int]) -> float:
        """The share of a photo of (width, height) that the model doesn't see."""
        left, upper, right, lower = self.box(photo_size)
        return max(0.0, 1 - (right - left) * (lower - upper))

    def apply(self, photo: Image.Image, interpolation: str) -> Image.Image:
        """The photo as the model sees it."""
        height, width = self.input
        rows, cols = self.resize_sides(photo.size)
        if self.library == "transformers" and rows * cols <= MOST_RESIZED:
            upper, left = self._half(rows - self.crop[0]), self._half(cols - self.crop[1])
            resized = _resized_as_tensor(photo, (rows, cols), interpolation)
            return resized.crop((left, upper, left + width, upper + height))
        # A box makes only the part that is kept: a 3000x4 image never becomes 168,000 px wide.
        return photo.resize((width, height), RESAMPLING[interpolation], box=self.pixel_box(photo.size))

    def part(self, photo: Image.Image) -> Image.Image:
        """The part that the model sees, at the photo's own resolution and aspect."""
        if self.squash and self.is_whole:
            return photo
        left, upper, right, lower = self.pixel_box(photo.size)
        width, height = right - left, lower - upper
        if not self.squash:  # of the input's very aspect: resizing to whole pixels moved the edges a little
            scale = min(width / self.input[1], height / self.input[0])
            width, height = self.input[1] * scale, self.input[0] * scale
        sides = max(1, round(width)), max(1, round(height))
        corner = (
            min(max(0, round((left + right - sides[0]) / 2)), photo.width - sides[0]),
            min(max(0, round((upper + lower - sides[1]) / 2)), photo.height - sides[1]),
        )
        return photo.crop((*corner, corner[0] + sides[0], corner[1] + sides[1]))


def _resized_as_tensor(photo: Image.Image, sides: Sides, interpolation: str) -> Image.Image:
    """The whole photo at that size, to the rounding of transformers, which resizes tensors."""
    import torch  # here alone: a Geometry is read without it
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional as transforms

    mode = InterpolationMode.NEAREST_EXACT if interpolation == "nearest" else InterpolationMode(interpolation)
    pixels = torch.stack([transforms.pil_to_tensor(photo)])  # whose layout in memory decides the rounding
    return transforms.to_pil_image(transforms.resize(pixels, list(sides), mode)[0])
