"""A photo in which some patches are replaced by those of another picture."""

from collections.abc import Iterator
from typing import Literal

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from explorer.attention.recorded import RecordedPass
from explorer.errors import QueryError
from explorer.models.backbone import Model

Gone = Bool[np.ndarray, "image row col"]  # which patches each picture lacks
Fill = Literal["mean", "blur"]
TOKENS = 4096  # in a batch: more don't fit the processor's cache and gain nothing


def batch_size(recording: RecordedPass) -> int:
    """How many pictures of that size go through the model at a time."""
    return max(1, TOKENS // len(recording.tokens))


def filled_image(image: Image.Image, fill: Fill, patch_size: int) -> Image.Image:
    """What a removed patch shows: the image's mean colour, or a Gaussian blur of it two patches wide."""
    pixels = np.array(image)
    if fill == "mean":
        return Image.new("RGB", image.size, tuple(round(c) for c in pixels.mean(axis=(0, 1))))
    if fill == "blur":
        return Image.fromarray(cv2.GaussianBlur(pixels, (0, 0), sigmaX=2 * patch_size))
    raise QueryError(f"fill must be mean or blur, not {fill!r}.")


def replace_patches(
    pixels: Float[Tensor, "1 channel row col"], others: Float[Tensor, "1 channel row col"], gone: Gone
) -> Float[Tensor, "image channel row col"]:
    """Pictures of `pixels` in which the patches that are gone are those of `others`."""
    rows, cols = pixels.shape[-2] // gone.shape[1], pixels.shape[-1] // gone.shape[2]
    mask = np.kron(gone, np.ones((1, rows, cols), bool))
    return torch.where(torch.from_numpy(mask).to(pixels.device)[:, None], others, pixels)


@torch.no_grad()
def logits_of(model: Model, pictures: Float[Tensor, "image channel row col"]) -> Float[Tensor, "image class"]:
    """The logits of a model that has classes."""
    _, logits = model.forward(pictures)
    assert logits is not None
    return logits


def in_batches(gone: Gone, size: int) -> Iterator[Gone]:
    """A few pictures at a time."""
    for start in range(0, len(gone), size):
        yield gone[start : start + size]
