"""Does the class depend on what a map marks? Deletion and insertion curves (Petsiuk et al. 2018, RISE), on patches."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np
from jaxtyping import Float, Int, Shaped

from explorer.attention.maps.kind import Progress
from explorer.attention.recorded import RecordedPass
from explorer.attention.removal import Fill, batch_size, filled_image, logits_of, replace_patches
from explorer.errors import QueryError

Game = Literal["deletion", "insertion"]
CONTROLS = ("random", "centre")


@dataclass(frozen=True)
class Curve:
    """The probability of the class, or a regression's number, after each step of one order."""

    order: str  # "map" or a map's name, "random" or "centre"
    game: Game
    shares: np.ndarray  # (steps + 1,) share of patches removed or revealed, 0 to 1
    probabilities: np.ndarray  # (steps + 1,) float64

    @property
    def area(self) -> float:
        """Area under the curve (trapezoids), 0 to 1: low is good for deletion, high for insertion."""
        return float(np.trapezoid(self.probabilities, self.shares))


@dataclass(frozen=True)
class Evidence:
    """Deletion and insertion by one map or several, by random orders and by a centre prior."""

    target: int
    curves: tuple[Curve, ...]

    @property
    def orders(self) -> tuple[str, ...]:
        """The names of the orders: maps first, then random and centre."""
        names = dict.fromkeys(curve.order for curve in self.curves)
        return (*(name for name in names if name not in CONTROLS), *CONTROLS)

    def curve(self, order: str, game: Game) -> Curve:
        """The curve of one order in one game (deletion or insertion)."""
        return next(curve for curve in self.curves if (curve.order, curve.game) == (order, game))


def centre_prior(grid: tuple[int, int]) -> Float[np.ndarray, "row col"]:
    """A float32 map that is highest in the middle, whatever the photo."""
    rows, cols = ((np.arange(n) + 0.5) / n - 0.5 for n in grid)
    return -np.hypot(rows[:, None], cols[None, :]).astype(np.float32)


def descending_order(heatmap: Shaped[np.ndarray, "row col"], seed: int = 0) -> Int[np.ndarray, " patch"]:
    """Patch indices from the map's highest value to its lowest, patches of one value in random order.

    In reading order a map that says nothing would look for the top of the photo, and be paid for it.
    """
    chance = np.random.default_rng((seed, 1)).random(heatmap.size)  # other numbers than those of random orders
    return np.lexsort((chance, -heatmap.ravel()))


def evidence(
    recording: RecordedPass,
    heatmap: Shaped[np.ndarray, "row col"] | Mapping[str, Shaped[np.ndarray, "row col"]],
    target: int | str | None = None,
    steps: int = 20,
    fill: Fill = "mean",
    random_orders: int = 3,
    seed: int = 0,
    progress: Progress | None = None,
) -> Evidence:
    """Remove (deletion) or reveal (insertion) patches from the map's highest to its lowest and follow the class.

    heatmap: one, or several by name; target: as for relevance; fill: what stands for a removed patch, the
    image's "mean" colour or a strong "blur" of it; random_orders: how many are averaged; progress: called with
    the images done and in all. A random order backwards is a random order too, so the images of its deletion serve its
    insertion. Raises QueryError for bad settings or a model without classes.
    """
    heatmaps = heatmap if isinstance(heatmap, Mapping) else {"map": heatmap}
    _check(recording, heatmaps, steps, random_orders)
    count = recording.grid[0] * recording.grid[1]
    index = recording.class_index(target)
    kept = np.round(np.linspace(count, 0, steps + 1)).astype(int)  # patches left after each step of a deletion
    ranked = {**heatmaps, "centre": centre_prior(recording.grid)}
    given = {name: descending_order(one, seed) for name, one in ranked.items()}
    rng = np.random.default_rng(seed)
    shuffled = [rng.permutation(count) for _ in range(random_orders)]
    # Every curve is the deletion of some order; an insertion is the deletion of its order backwards, read backwards.
    orders = [*given.values(), *(order[::-1] for order in given.values()), *shuffled]
    follow = _Follower(recording, index, fill, progress, total=2 + len(orders) * (steps - 1))
    rows = follow.deletions(orders, kept)
    shares = 1 - kept / count
    random = rows[2 * len(given) :].mean(axis=0)
    deletions = dict(zip(given, rows, strict=False)) | {"random": random}
    insertions = dict(zip(given, rows[len(given) :, ::-1], strict=False)) | {"random": random[::-1]}
    revealed = kept[::-1] / count
    return Evidence(
        index,
        (
            *(Curve(order, "deletion", shares, row) for order, row in deletions.items()),
            *(Curve(order, "insertion", revealed, row) for order, row in insertions.items()),
        ),
    )


def _check(recording: RecordedPass, heatmaps: Mapping[str, np.ndarray], steps: int, random_orders: int) -> None:
    """Raise QueryError for settings that evidence() can't use."""
    if recording.logits is None:
        raise QueryError(f"{recording.model_name} has no classes, so there's no class probability to follow.")
    for name, heatmap in heatmaps.items():
        if heatmap.shape != recording.grid:
            raise QueryError(
                f"The map has {heatmap.shape} patches, the recording {recording.grid}; they must be equal."
            )
        if name in CONTROLS:
            raise QueryError(f"{name} is the name of a control: call the map otherwise.")
    count = recording.grid[0] * recording.grid[1]
    if not 1 <= steps <= count or random_orders < 1:
        raise QueryError(f"steps must be 1 to {count} and random_orders at least 1, not {steps} and {random_orders}.")


class _Follower:
    """Runs the model on images with some patches filled, in batches, and reports progress."""

    def __init__(self, recording: RecordedPass, target: int, fill: Fill, progress: Progress | None, total: int):
        self.recording, self.target = recording, target
        self.pixels = recording.model.pixels(recording.image)
        self.filled = recording.model.pixels(filled_image(recording.image, fill, recording.patch_size))
        self.progress, self.done, self.total = progress, 0, total

    def deletions(self, orders: list[np.ndarray], kept: np.ndarray) -> np.ndarray:
        """Probabilities, "order step"; the first and last image are the same for all orders and run once."""
        inner = [self._masks(order, kept[1:-1]) for order in orders]
        ends = [np.ones(self.recording.grid, bool), np.zeros(self.recording.grid, bool)]
        values = np.array(list(self._run(iter([*ends, *(mask for masks in inner for mask in masks)]))))
        rows = values[2:].reshape(len(orders), len(kept) - 2)
        first, last = (np.full((len(orders), 1), value) for value in values[:2])
        return np.concatenate([first, rows, last], axis=1)

    def _masks(self, order: np.ndarray, kept: np.ndarray) -> list[np.ndarray]:
        """Which patches remain after each step, bool "row col"."""
        rank = np.empty(len(order), dtype=int)
        rank[order] = np.arange(len(order))
        return [(rank >= len(order) - count).reshape(self.recording.grid) for count in kept]

    def _run(self, masks: Iterator[np.ndarray]) -> Iterator[float]:
        """The value for each mask of patches that remain."""
        model = self.recording.model
        while batch := list(islice(masks, batch_size(self.recording))):
            logits = logits_of(model, replace_patches(self.pixels, self.filled, ~np.stack(batch)))
            yield from model.probabilities(logits.cpu().double())[:, self.target].numpy()  # MPS has no float64
            self.done += len(batch)
            if self.progress:
                self.progress(self.done, self.total)
