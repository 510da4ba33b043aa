"""Artefact tokens: patches with an outlying norm that large models use as scratch space (Darcet et al. 2024)."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from explorer.errors import QueryError

if TYPE_CHECKING:  # at run time this module needs no torch
    from explorer.attention.recorded import RecordedPass

DEVIATIONS = 6.0
RATIO = 1.5


def outliers(
    norms: Float[np.ndarray, "*shape"], deviations: float = DEVIATIONS, ratio: float = RATIO
) -> Bool[np.ndarray, "*shape"]:
    """Which norms stick out above the rest.

    norm > median + deviations * 1.4826 * MAD (the robust z-score) and norm > ratio * median. The paper cuts one model's
    norms at a fixed 150; median and MAD find the same gap at any width of model, and half the tokens would have to be
    outliers to move them. The ratio keeps a narrow spread from turning ordinary tokens into outliers.
    """
    if norms.size == 0:
        raise QueryError("There are no patch norms to look for outliers in.")
    if deviations <= 0 or ratio < 1:
        raise QueryError(f"deviations must be above 0 and ratio at least 1, not {deviations} and {ratio}.")
    median = np.median(norms)
    spread = 1.4826 * np.median(np.abs(norms - median))
    return (norms > median + deviations * spread) & (norms > ratio * median)


def patch_norms(recording: "RecordedPass", layer: int | None = None) -> Float[np.ndarray, "row col"]:
    """L2 norms of the patch tokens that enter a layer; None or depth: after the last block."""
    norms = recording.token_norms(recording.depth if layer is None else layer)
    return norms[len(recording.prefix_tokens) :].reshape(recording.grid)


def artefact_mask(recording: "RecordedPass", layer: int | None = None) -> Bool[np.ndarray, "row col"]:
    """The patches whose token norm is an outlier as it enters a layer; None: after the last block, as in the paper."""
    return outliers(patch_norms(recording, layer))


def outlier_counts(recording: "RecordedPass") -> list[int]:
    """How many patch tokens stick out at the input of each layer and, last, after the last block."""
    return [int(artefact_mask(recording, layer).sum()) for layer in range(recording.depth + 1)]


def without_artefacts(
    heatmap: Float[np.ndarray, "*maps row col"], mask: Bool[np.ndarray, "row col"]
) -> Float[np.ndarray, "*maps row col"]:
    """Maps with the masked patches at each map's lowest remaining value.

    So they neither shine nor set the scale of the colours.
    """
    if heatmap.shape[-2:] != mask.shape:
        raise QueryError(f"The mask has shape {mask.shape}, the map {heatmap.shape}; they must be equal.")
    if mask.all():
        raise QueryError("Every patch is masked as an artefact: nothing of the map would be left.")
    lowest = heatmap[..., ~mask].min(axis=-1)[..., None, None]
    return np.where(mask, lowest, heatmap).astype(heatmap.dtype)
