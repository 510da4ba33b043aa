"""The ways in which a bench takes patches away, and at which shares of them it looks."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from explorer.attention.interventions.editing import NO_VALUES, Editor, find_readout, run
from explorer.attention.interventions.edits import DropPatches
from explorer.attention.interventions.passes import NO_PLACES
from explorer.attention.recording import Recording
from explorer.attention.removal import Gone, filled_image, logits_of, replace_patches
from explorer.attention.scores import score_of
from explorer.evaluation.bench.imputation import impute

Without = Callable[[Gone], Float[Tensor, "image class"]]  # the logits of pictures that lack those patches
TENTHS = tuple(step / 10 for step in range(1, 10))
THIRDS = (1 / 3, 2 / 3)
HALF = (1 / 2,)


@dataclass(frozen=True)
class Way:
    """name: in files; title, help: for people; start: (recording, class, seed) -> what removes patches."""

    name: str
    title: str
    help: str
    shares: tuple[float, ...]
    start: Callable[[Recording, int, int], Without]


def _grey(recording: Recording, target: int, seed: int) -> Without:
    pixels = recording.model.pixels(recording.image)
    return lambda gone: logits_of(recording.model, replace_patches(pixels, torch.zeros_like(pixels), gone))


def _blur(recording: Recording, target: int, seed: int) -> Without:
    pixels = recording.model.pixels(recording.image)
    blurred = recording.model.pixels(filled_image(recording.image, "blur", recording.patch_size))
    return lambda gone: logits_of(recording.model, replace_patches(pixels, blurred, gone))


def _dropped(recording: Recording, target: int, seed: int) -> Without:
    readout = find_readout(recording, score_of(recording, target))

    def without(gone: Gone) -> Tensor:
        edits = [[DropPatches(tuple((int(row), int(col)) for row, col in np.argwhere(each)))] for each in gone]
        _, logits = run(Editor(recording, NO_PLACES, edits, NO_VALUES, readout))
        assert logits is not None
        return logits

    return without


def _imputed(recording: Recording, target: int, seed: int) -> Without:
    pixels = recording.model.pixels(recording.image)

    def without(gone: Gone) -> Tensor:
        generator = torch.Generator().manual_seed(seed)  # the same noise in every batch
        removed = torch.from_numpy(gone).to(pixels.device)
        filled = impute(pixels.float(), removed, generator)  # half the digits wouldn't solve its equations
        return logits_of(recording.model, filled.to(pixels.dtype))

    return without


WAYS: dict[str, Way] = {
    way.name: way
    for way in (
        Way("grey", "grey", "A removed patch shows the mean colour of the model's training photos.", TENTHS, _grey),
        Way("blur", "blur", "A removed patch shows a Gaussian blur of the photo, two patches wide.", THIRDS, _blur),
        Way("dropped", "dropped", "A removed patch is taken out of the list of tokens: no attention sees it and no "
            "mean counts it.", HALF, _dropped),
        Way("road", "ROAD", "A removed patch is filled from its neighbours, pixel by pixel, so that its outline tells "
            "the model nothing (noisy linear imputation, Rong et al. 2022).", HALF, _imputed),
    )
}  # fmt: skip


def masks_of_shares(order: Int[np.ndarray, " patch"], shares: tuple[float, ...], grid: tuple[int, int]) -> Gone:
    """Which patches are gone after each share of an order of all patches."""
    rank = np.empty(order.size, int)
    rank[order] = np.arange(order.size)
    return np.stack([rank.reshape(grid) < round(share * order.size) for share in shares])
