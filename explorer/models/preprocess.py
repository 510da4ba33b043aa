"""From any image to the pixels a model takes: fitting to whole patches, then normalising."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from explorer.data.images import ImageSource, open_image
from explorer.errors import ImageError

Fit = Literal["crop", "squash", "keep"]
MAX_TOKENS = 10_000  # a longer sequence would take minutes on a laptop and is nearly always a mistake
RESAMPLING = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
}


def fit_image(
    image: ImageSource, size: int, patch_size: int, fit: Fit = "crop", interpolation: str = "bicubic"
) -> Image.Image:
    """The image resized so that both sides are whole patches: crop, squash or keep its aspect.

    crop: short side to `size`, centre crop; squash: both sides to `size`; keep: short side to `size`, the long side in
    proportion, rounded to whole patches. Raises ImageError for a size that is no multiple of the patch, or too long.
    """
    return fit_photo(open_image(image), size, patch_size, fit, interpolation)


def fit_photo(
    image: Image.Image, size: int, patch_size: int, fit: Fit = "crop", interpolation: str = "bicubic"
) -> Image.Image:
    """fit_image of a picture that open_image gave, which isn't copied."""
    if fit not in get_args(Fit):
        raise ImageError(f"fit must be crop, squash or keep, not {fit!r}.")
    _check_size(size, patch_size)
    width, height = target_sides(image.width, image.height, size, patch_size, fit)
    resampling = RESAMPLING[interpolation]
    if fit != "crop":
        return image.resize((width, height), resampling)
    return _resize_and_crop(image, size, resampling)


def _check_size(size: int, patch_size: int) -> None:
    if not isinstance(size, (int, np.integer)):
        raise ImageError(f"The input size is a whole number of pixels, not {size!r}: try {patch_size * 14}.")
    if size <= 0:
        raise ImageError(f"The input size must be above 0, not {size}: try {patch_size * 14}.")
    if size % patch_size:
        nearest = max(patch_size, round(size / patch_size) * patch_size)
        raise ImageError(f"The input size {size} is no multiple of the patch size {patch_size}: try {nearest}.")


def target_sides(width: int, height: int, size: int, patch_size: int, fit: Fit) -> tuple[int, int]:
    """(width, height) in pixels of the fitted image."""
    sides = [size, size]
    if fit == "keep":
        scale = size / min(width, height)
        sides = [max(patch_size, round(side * scale / patch_size) * patch_size) for side in (width, height)]
    tokens = (sides[0] // patch_size) * (sides[1] // patch_size)
    if tokens > MAX_TOKENS and fit != "keep":
        raise ImageError(
            f"{size}x{size} pixels make {tokens:,} patches, the limit is {MAX_TOKENS:,}: use a smaller input size."
        )
    if tokens > MAX_TOKENS:
        raise ImageError(
            f"Keeping the aspect of a {width}x{height} image makes {tokens:,} patches, the limit is {MAX_TOKENS:,}; "
            "use fit crop or squash, or a smaller input size."
        )
    return sides[0], sides[1]


def _resize_and_crop(image: Image.Image, size: int, resampling: Image.Resampling) -> Image.Image:
    """The centre of the resized image, rounded to whole pixels as torchvision's Resize and CenterCrop round it."""
    # A box makes only the part that is kept: a 3000x4 image never becomes 168,000 px wide.
    return image.resize((size, size), resampling, box=_centre(image.size, size))


def fit_rectangle(
    image: Image.Image, sides: tuple[int, int], fit: Fit = "crop", interpolation: str = "bicubic"
) -> Image.Image:
    """The picture at the one size (width, height) that a model takes: the centre of that aspect, or squashed whole."""
    if fit not in get_args(Fit):
        raise ImageError(f"fit must be crop, squash or keep, not {fit!r}.")
    box = None
    if fit == "crop":
        scale = min(image.width / sides[0], image.height / sides[1])
        width, height = sides[0] * scale, sides[1] * scale
        left, upper = (image.width - width) / 2, (image.height - height) / 2
        box = (left, upper, left + width, upper + height)
    return image.resize(sides, RESAMPLING[interpolation], box=box)


def _centre(sides: tuple[int, int], size: int) -> tuple[float, float, float, float]:
    """What a crop to `size` keeps, as (left, upper, right, lower) in the photo's own pixels."""
    start, end = [], []
    for side in sides:
        resized = int(size * side / min(sides))
        first = round((resized - size) / 2)
        start.append(first * side / resized)
        end.append((first + size) * side / resized)
    return start[0], start[1], end[0], end[1]


def seen_box(sides: tuple[int, int], size: int, fit: Fit = "crop") -> tuple[float, float, float, float]:
    """What fit_image keeps of a photo of (width, height), as (left, upper, right, lower) shares of its sides."""
    if fit != "crop":
        return 0.0, 0.0, 1.0, 1.0
    left, upper, right, lower = _centre(sides, size)
    return left / sides[0], upper / sides[1], right / sides[0], lower / sides[1]


def seen_part(image: ImageSource, size: int, fit: Fit = "crop") -> Image.Image:
    """The part of a photo that fit_image keeps, at the photo's own resolution and aspect; of a crop a square."""
    image = open_image(image)
    if fit != "crop":
        return image
    left, upper, right, lower = _centre(image.size, size)
    side = min(image.size)  # the kept part is that long and wide to within a pixel of the fitted image
    left, upper = round((left + right - side) / 2), round((upper + lower - side) / 2)
    return image.crop((left, upper, left + side, upper + side))


def to_pixels(image: Image.Image, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """An RGB image as "1 3 height width" float32, (value / 255 - mean) / std per channel."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
    # new_tensor: a default device or precision that the caller has set is for tensors of their own
    return (pixels - pixels.new_tensor(mean).view(1, 3, 1, 1)) / pixels.new_tensor(std).view(1, 3, 1, 1)
