"""From any image to the pixels a model takes: fitting to whole patches, then normalising."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from explorer.errors import ImageError, SizeError
from explorer.models.geometry import Geometry

Fit = Literal["own", "crop", "squash", "keep"]
MAX_TOKENS = 10_000  # a longer sequence would take minutes on a laptop and is nearly always a mistake


def usual_geometry(photo_size: tuple[int, int], size: int, patch_size: int, fit: Fit) -> Geometry:
    """What becomes of a photo of (width, height) whose both sides are to be whole patches: crop, squash or keep.

    crop: short side to `size`, centre crop; squash: both sides to `size`; keep: short side to `size`, the long side in
    proportion, rounded to whole patches. Raises ImageError for a size that isn't a multiple of the patch, or too long.
    """
    check_fit(fit)
    check_size(size, patch_size)
    width, height = target_sides(*photo_size, size, patch_size, fit)
    return Geometry.whole((height, width), squash=fit != "crop")


def check_fit(fit: str) -> None:
    """Raise SizeError for a word that is no Fit."""
    if fit not in get_args(Fit):
        raise SizeError(f"fit must be own, crop, squash or keep, not {fit!r}.")


def check_size(size: int, patch_size: int) -> None:
    """Raise SizeError for a side in pixels that isn't a positive number of whole patches."""
    if not isinstance(size, (int, np.integer)):
        raise SizeError(f"The input size is a whole number of pixels, not {size!r}: try {patch_size * 14}.")
    if size <= 0:
        raise SizeError(f"The input size must be above 0, not {size}: try {patch_size * 14}.")
    if size % patch_size:
        nearest = max(patch_size, round(size / patch_size) * patch_size)
        raise SizeError(f"The input size {size} isn't a multiple of the patch size {patch_size}: try {nearest}.")


def check_patches(width: int, height: int, patch_size: int) -> None:
    """Raise SizeError for an input of more patches than the limit."""
    tokens = (width // patch_size) * (height // patch_size)
    if tokens > MAX_TOKENS:
        raise SizeError(
            f"{width}x{height} pixels make {tokens:,} patches, the limit is {MAX_TOKENS:,}: use a smaller input size."
        )


def target_sides(width: int, height: int, size: int, patch_size: int, fit: Fit) -> tuple[int, int]:
    """(width, height) in pixels of the fitted image."""
    sides = [size, size]
    if fit == "keep":
        scale = size / min(width, height)
        sides = [max(patch_size, round(side * scale / patch_size) * patch_size) for side in (width, height)]
    tokens = (sides[0] // patch_size) * (sides[1] // patch_size)
    if fit != "keep":
        check_patches(sides[0], sides[1], patch_size)
    if tokens > MAX_TOKENS:
        raise ImageError(
            f"Keeping the aspect of a {width}x{height} image makes {tokens:,} patches, the limit is {MAX_TOKENS:,}; "
            "use fit crop or squash, or a smaller input size."
        )
    return sides[0], sides[1]


def normalise(
    pixels: UInt8[Tensor, "image row col channel"], mean: Sequence[float], std: Sequence[float]
) -> Float[Tensor, "image channel row col"]:
    """(value / 255 - mean) / std per channel, float32."""
    scaled = pixels.permute(0, 3, 1, 2).float() / 255
    # new_tensor: a default device or precision that the caller has set is for tensors of their own
    return (scaled - scaled.new_tensor(mean).view(1, 3, 1, 1)) / scaled.new_tensor(std).view(1, 3, 1, 1)


def to_pixels(image: Image.Image, mean: Sequence[float], std: Sequence[float]) -> Float[Tensor, "1 channel row col"]:
    """A fitted RGB image as the model takes it."""
    return normalise(torch.from_numpy(np.array(image))[None], mean, std)
