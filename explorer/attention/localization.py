"""Which head found it? Every layer and head compared with a mask of the object, by the pixels of each patch."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8

from explorer.attention.evidence import centre_prior
from explorer.attention.queries import Query
from explorer.attention.recorded import RecordedPass
from explorer.data.images import ImageSource
from explorer.data.masks import open_mask
from explorer.errors import ImageError, QueryError
from explorer.models.geometry import Geometry
from explorer.models.preprocess import Fit, usual_geometry

OBJECT, IGNORE = 255, 128


@dataclass(frozen=True)
class Score:
    """How well one map lies on the object."""

    layer: int | None  # None: a prior that no layer made
    head: int | str  # index, "mean" over heads, or the prior's name
    auc: float  # pixel AUC of object against background
    iou: float  # at the best threshold
    pointing: float  # 1 where the map's peak lies on the object, 0 else; a share over tied peaks and over images


@dataclass(frozen=True)
class PatchMask:
    """A mask as counts per patch: a map is constant on a patch, so nothing is lost."""

    objects: Int[np.ndarray, "row col"]  # object pixels
    background: Int[np.ndarray, "row col"]  # background pixels; those marked 128 are in neither
    centre: Bool[np.ndarray, "row col"]  # the pixel in the patch's middle is object


def fit_mask(
    mask: ImageSource,
    size: int | Geometry,
    patch_size: int = 1,
    fit: Fit = "crop",
    *,
    photo_size: tuple[int, int] | None = None,
) -> UInt8[np.ndarray, "height width"]:
    """A mask picture through the same geometry as its photo, with nearest: 255 object, 0 background, 128 left out.

    size: the geometry of the recording, rec.part.geometry; or pixels of the short side, in whole patches, and as `fit`
    crop, squash or keep. photo_size: (width, height) of the photo, whose shape the mask must have. Raises ImageError as
    open_mask does, and for a size or fit that can't be had.
    """
    shades = open_mask(mask, photo_size)
    if isinstance(size, Geometry):
        return np.array(size.apply(shades, "nearest"))
    if fit == "own":
        raise ImageError("A mask has no fit of its own: give crop, squash or keep, or the recording's geometry.")
    return np.array(usual_geometry(shades.size, size, patch_size, fit).apply(shades, "nearest"))


def rectangle_mask(grid: tuple[int, int], first: tuple[int, int], last: tuple[int, int]) -> Bool[np.ndarray, "row col"]:
    """The patches of a rectangle between two corners (row, col), both inside it."""
    mask = np.zeros(grid, dtype=bool)
    (top, bottom), (left, right) = (sorted(pair) for pair in zip(first, last, strict=True))
    if top < 0 or left < 0 or bottom >= grid[0] or right >= grid[1]:
        raise QueryError(f"The rectangle {first} to {last} leaves the grid of {grid[0]} rows and {grid[1]} columns.")
    mask[top : bottom + 1, left : right + 1] = True
    return mask


def patch_mask(mask: Shaped[np.ndarray, "height width"], grid: tuple[int, int]) -> PatchMask:
    """From pixels (0 background, 128 ignored, 255 object, or bool) or patches (bool) to counts per patch.

    Raises QueryError where the mask doesn't divide into the grid, or holds only object or only background.
    """
    rows, cols = grid
    if mask.ndim != 2 or mask.shape[0] % rows or mask.shape[1] % cols:
        raise QueryError(f"A mask of {mask.shape} pixels doesn't divide into {rows} rows and {cols} columns.")
    values = np.where(mask, OBJECT, 0) if mask.dtype == bool else mask
    patches = values.reshape(rows, mask.shape[0] // rows, cols, mask.shape[1] // cols).swapaxes(1, 2)
    objects = patches > (OBJECT + IGNORE) // 2
    background = patches < IGNORE // 2
    if not objects.any() or not background.any():
        what = "object (255)" if not objects.any() else "background (0)"
        raise QueryError(f"The mask has no {what} inside the image as the model sees it, so nothing can be ranked.")
    middle = objects[:, :, objects.shape[2] // 2, objects.shape[3] // 2]
    return PatchMask(objects.sum(axis=(2, 3)), background.sum(axis=(2, 3)), middle)


def score_map(
    heatmap: Float[np.ndarray, "row col"], mask: PatchMask, layer: int | None = None, head: int | str = "mean"
) -> Score:
    """Pixel AUC, best IoU and pointing game of one map, each patch weighted by its pixels.

    Ties: in the AUC a tied pair counts half, as always; where several patches share the highest value, pointing is the
    share of them on the object, so a flat map gains nothing from the corner that comes first.
    """
    # sklearn's roc_curve, for one number per map, took twenty times as long as this: it checks all its input first.
    levels, level = np.unique(-heatmap.ravel(), return_inverse=True)  # the highest value first, ties together
    pixels = (mask.objects, mask.background)
    found, wrong = (np.bincount(level, side.ravel(), len(levels)).cumsum() for side in pixels)
    false, true = (np.concatenate([[0.0], count / count[-1]]) for count in (wrong, found))
    iou = (found / (found[-1] + wrong)).max()
    pointing = mask.centre[heatmap == heatmap.max()].mean()
    return Score(layer, head, float(np.trapezoid(true, false)), float(iou), float(pointing))


def rank_heads(
    recording: RecordedPass, mask: Shaped[np.ndarray, "height width"], query: Query | None = None
) -> list[Score]:
    """Every layer's heads and their mean, best pixel AUC first, the centre prior among them.

    mask: pixels (height, width) of the image as the model saw it, or patches (rows, cols) bool.
    """
    counts = patch_mask(mask, recording.grid)
    scores = [score_map(centre_prior(recording.grid), counts, None, "centre prior")]
    for layer in range(recording.depth):
        heads = recording.heads(layer, query)
        scores += [score_map(heatmap, counts, layer, head) for head, heatmap in enumerate(heads)]
        scores.append(score_map(heads.mean(axis=0), counts, layer, "mean"))
    return best_first(scores)


def best_first(scores: Iterable[Score]) -> list[Score]:
    """Sorted by AUC, then IoU, highest first."""
    return sorted(scores, key=lambda score: (-score.auc, -score.iou))


def average(per_image: Iterable[list[Score]]) -> list[Score]:
    """The mean over images of each layer and head's numbers, best first."""
    sums: dict[tuple, np.ndarray] = {}  # of auc, iou, pointing, and how many
    for scores in per_image:
        for score in scores:
            numbers = np.array([score.auc, score.iou, score.pointing, 1.0])
            sums[score.layer, score.head] = sums.get((score.layer, score.head), 0.0) + numbers
    return best_first(Score(layer, head, *(total[:3] / total[3]).tolist()) for (layer, head), total in sums.items())
