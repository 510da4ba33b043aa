"""What the patch tokens hold: their first principal components as colours, and which patches are alike."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float

from explorer.attention.queries import Query
from explorer.attention.recorded import RecordedPass
from explorer.errors import QueryError

FEWEST = 4  # patches that a PCA in three components needs
SPECK = 0.02  # of an image's patches: a smaller piece of foreground or background belongs to what is around it


@dataclass(frozen=True)
class Colours:
    """Patch tokens as colours: alike tokens look alike, in one image or in several coloured together."""

    rgb: Float[np.ndarray, "row col 3"]  # float32 in 0..1, black outside the foreground
    foreground: Bool[np.ndarray, "row col"]
    explained: tuple[float, ...]  # share of the variance that red, green and blue stand for


def patch_tokens(recording: RecordedPass) -> Float[np.ndarray, "patch width"]:
    """float32 tokens after the last norm, without the prefix tokens."""
    return recording.tokens[len(recording.prefix_tokens) :]


def pca_colours(recordings: Sequence[RecordedPass], foreground: bool = True, cut: float = 0.0) -> list[Colours]:
    """Red, green and blue = the first three principal components of the patch tokens of all images together.

    As in DINOv2 (Oquab et al. 2023): the first component of all patches, cut in two, splits foreground from
    background, and a second PCA colours the foreground alone. The foreground is the side that touches less of the
    border, so a photo always comes out the same; specks in it and holes are smoothed away. cut: where between the two
    sides, from -1 (the mean of the background: much is foreground) over 0 (Otsu's threshold) to 1 (the mean of the
    foreground). With fewer than 4 patches in the foreground all are coloured.
    """
    if not -1 <= cut <= 1:
        raise QueryError(f"cut must lie from -1 to 1, not {cut}.")
    _check_same_width(recordings)
    tokens = np.concatenate([patch_tokens(recording) for recording in recordings]).astype(np.float64)
    if len(tokens) < FEWEST:
        raise QueryError(f"Colours need at least {FEWEST} patches, not {len(tokens)}: use a larger input size.")
    chosen = np.ones(len(tokens), dtype=bool)
    if foreground:
        border = np.concatenate([_border(recording.grid).ravel() for recording in recordings])
        scores = _on_grids(recordings, components(tokens, 1)[0][:, 0])
        side = foreground_side(np.concatenate([_soft(part).ravel() for part in scores]), border, cut)
        side = np.concatenate([without_specks(part).ravel() for part in _on_grids(recordings, side)])
        chosen = side if side.sum() >= FEWEST else chosen
    values, explained = components(tokens[chosen], 3)
    low, high = values.min(axis=0), values.max(axis=0)
    rgb = np.zeros((len(tokens), 3), dtype=np.float32)
    rgb[chosen, : values.shape[1]] = (values - low) / np.where(high > low, high - low, 1)
    return _split(recordings, rgb, chosen, explained)


def components(
    tokens: Float[np.ndarray, "token width"], count: int
) -> tuple[Float[np.ndarray, "token component"], tuple[float, ...]]:
    """Scores on the first principal components, and each one's share of the variance.

    A component's sign is arbitrary: here the largest of its loadings is positive.
    """
    from sklearn.decomposition import PCA  # a second to import, which pages with a likeness alone don't wait for

    pca = PCA(min(count, *tokens.shape), svd_solver="full").fit(tokens)
    axes = np.asarray(pca.components_)
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
    total = float(tokens.var(axis=0, ddof=1).sum())  # sklearn's own ratio is NaN where all tokens are alike
    shares = tuple(float(variance / total) if total else 0.0 for variance in pca.explained_variance_)
    return pca.transform(tokens) * signs, shares


def foreground_side(
    scores: Float[np.ndarray, " patch"], border: Bool[np.ndarray, " patch"], cut: float = 0.0
) -> Bool[np.ndarray, " patch"]:
    """Of Otsu's split of scores into two, the side with the smaller share on the border.

    cut: moves the threshold, from the one side's mean (-1, much is foreground) to the other's (1).
    """
    if scores.max() <= scores.min():
        return np.ones(len(scores), dtype=bool)
    threshold = otsu(scores)
    high = scores > threshold
    if border[high].mean() > border[~high].mean():
        scores, threshold, high = -scores, -threshold, ~high
    mean = scores[high].mean() if cut > 0 else scores[~high].mean()
    return scores > threshold + abs(cut) * (mean - threshold) if cut else high


def _soft(scores: np.ndarray) -> np.ndarray:
    """Scores (rows, cols), each with a little of its neighbours': single patches that differ don't count."""
    return cv2.GaussianBlur(scores, (3, 3), 0, borderType=cv2.BORDER_REPLICATE)


def without_specks(mask: Bool[np.ndarray, "row col"]) -> Bool[np.ndarray, "row col"]:
    """The mask without specks, and without holes, of less than SPECK of its patches."""
    for value in (False, True):  # holes first, or a ring would count as a speck
        count, parts, stats, _ = cv2.connectedComponentsWithStats((mask == value).astype(np.uint8), connectivity=4)
        small = [part for part in range(1, count) if stats[part, cv2.CC_STAT_AREA] < SPECK * mask.size]
        mask = mask ^ np.isin(parts, small)
    return mask


def otsu(scores: Float[np.ndarray, " patch"]) -> float:
    """The threshold between two groups whose means lie furthest apart, weighted by their sizes (Otsu 1979).

    Over the scores themselves, without a histogram, so that flipping all signs gives the same two groups.
    """
    ordered = np.sort(scores)
    below = np.arange(1, len(ordered))
    above = len(ordered) - below
    sums = ordered.cumsum()[:-1]
    gaps = sums / below - (ordered.sum() - sums) / above
    cut = int((below * above * gaps**2).argmax())
    return float(ordered[cut] + ordered[cut + 1]) / 2


def _border(grid: tuple[int, int]) -> np.ndarray:
    border = np.ones(grid, dtype=bool)
    border[1:-1, 1:-1] = False
    return border


def _split(
    recordings: Sequence[RecordedPass], rgb: np.ndarray, chosen: np.ndarray, explained: tuple[float, ...]
) -> list[Colours]:
    parts = zip(_on_grids(recordings, rgb), _on_grids(recordings, chosen), strict=True)
    return [Colours(colours, mask, explained) for colours, mask in parts]


def _on_grids(recordings: Sequence[RecordedPass], values: np.ndarray) -> list[np.ndarray]:
    """Values "patch ..." of all recordings, one after the other -> (rows, cols, ...) of each."""
    grids = [recording.grid for recording in recordings]
    ends = np.cumsum([rows * cols for rows, cols in grids])[:-1]
    parts = zip(np.split(values, ends), grids, strict=True)
    return [part.reshape(*grid, *values.shape[1:]) for part, grid in parts]


def similarity(
    recording: RecordedPass, query: Query, other: RecordedPass | None = None
) -> Float[np.ndarray, "row col"]:
    """Cosine similarity of one token to every patch of this or another image: float32, -1 to 1.

    query: (row, col) of a patch, a prefix token's name, or "mean", in `recording`.
    """
    other = recording if other is None else other
    _check_same_width([recording, other])
    token = recording.tokens[recording.query_indices(query)].mean(axis=0)
    patches = patch_tokens(other)
    lengths = np.linalg.norm(patches, axis=1) * np.linalg.norm(token)
    return (patches @ token / np.maximum(lengths, 1e-12)).clip(-1, 1).reshape(other.grid).astype(np.float32)


def cosine(one: Float[np.ndarray, " width"], other: Float[np.ndarray, " width"]) -> float:
    """Cosine similarity of two features, -1 to 1."""
    return float(one @ other / max(np.linalg.norm(one) * np.linalg.norm(other), 1e-12))


def _check_same_width(recordings: Sequence[RecordedPass]) -> None:
    widths = {recording.model_name: recording.tokens.shape[1] for recording in recordings}
    if len({(recording.model_name, recording.tokens.shape[1]) for recording in recordings}) > 1:
        names = " and ".join(f"{name} ({width} numbers per token)" for name, width in widths.items())
        raise QueryError(f"Tokens of {names} can't be compared: record all images with one model.")
