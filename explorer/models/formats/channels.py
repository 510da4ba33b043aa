"""Models of other channels than red, green and blue, as the RGB models that compute the same for a photo."""

from typing import Any

import torch
from jaxtyping import Float
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor

from explorer.errors import UnsupportedModelError

IMAGENET_COLOURS = {"mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD}  # of pixels from 0 to 1
GREY = (0.299, 0.587, 0.114)  # ITU-R 601, as Pillow and OpenCV make grey
SENTENCES = {
    1: "The model takes one channel: photos are reduced to grey.",
    2: "The model takes two channels: the first gets the photo in grey, the second zeros.",
    4: "The model takes four channels: the fourth gets zeros, the others red, green and blue.",
}


def rgb_kernel(
    kernel: Float[Tensor, "width channel row col"], name: str
) -> tuple[Float[Tensor, "width 3 row col"], tuple[str, ...]]:
    """A patch projection for RGB photos, and what was done about its channels in one sentence.

    Grey is a weighted sum of red, green and blue, so a kernel over grey is one over RGB; zeros need no kernel.
    Raises UnsupportedModelError for more than four channels, whose order nobody knows.
    """
    channels = kernel.shape[1] if kernel.ndim == 4 else 3
    if channels == 3:
        return kernel, ()
    if channels not in SENTENCES:
        raise UnsupportedModelError(
            f"{name} takes {channels} colour channels, photos have 3: give a model of 1, 2, 3 or 4 channels."
        )
    if channels == 4:
        return kernel[:, :3].contiguous(), (SENTENCES[4],)
    weights = torch.tensor(GREY, dtype=torch.float64).view(1, 3, 1, 1)
    return (kernel[:, :1].double() * weights).to(kernel.dtype), (SENTENCES[channels],)


def rgb_values(values: Any, fallback: tuple[float, float, float]) -> tuple[float, float, float]:
    """A mean or deviation for each of red, green and blue from those of a model's own channels."""
    if isinstance(values, (int, float)):
        values = (values,)
    if not isinstance(values, (list, tuple)) or not all(_is_number(value) for value in values) or not values:
        return fallback
    first = [float(value) for value in values]
    red, green, blue = first[:3] if len(first) >= 3 else first[:1] * 3
    return red, green, blue


def grey_values(values: tuple[float, float, float]) -> tuple[float, float, float]:
    """One number for grey, three times, from those of red, green and blue."""
    grey = round(sum(values) / 3, 6)
    return grey, grey, grey


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value
