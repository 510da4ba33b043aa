"""Evidence of several photos together: the mean of each curve, and its spread over photos."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from explorer.attention.evidence import Evidence, Game
from explorer.errors import QueryError
from explorer.words import text_cell

COLUMNS = ("photo", "order", "game", "share_of_patches", "probability")


@dataclass(frozen=True)
class Band:
    """One order in one game over several photos."""

    order: str
    game: Game
    shares: Float[np.ndarray, " step"]  # of patches removed or revealed, 0 to 1
    probabilities: Float[np.ndarray, "photo step"]
    areas: Float[np.ndarray, " photo"]

    @property
    def mean(self) -> Float[np.ndarray, " step"]:
        return self.probabilities.mean(axis=0)

    @property
    def spread(self) -> Float[np.ndarray, " step"]:
        """Standard deviation over photos; 0 for a single one."""
        return spread_of(self.probabilities)


def spread_of(values: Float[np.ndarray, "photo ..."]) -> Float[np.ndarray, "..."]:
    """The standard deviation of a sample, 0 for a single value."""
    return values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1:])


def mean_bands(found: Sequence[Evidence]) -> tuple[Band, ...]:
    """The bands of all orders and games; QueryError where photos were followed by other orders or in other steps."""
    if not found:
        raise QueryError("Evidence over photos needs one photo or more.")
    names = {(one.orders, len(one.curves[0].shares)) for one in found}
    if len(names) > 1:
        raise QueryError("The photos were followed by other maps or in other steps: give all the same.")
    bands = []
    for game in ("deletion", "insertion"):
        for order in found[0].orders:
            curves = [one.curve(order, game) for one in found]
            shares = np.mean([curve.shares for curve in curves], axis=0)
            rows = np.stack([curve.probabilities for curve in curves])
            bands.append(Band(order, game, shares, rows, np.array([curve.area for curve in curves])))
    return tuple(bands)


def to_csv(found: Mapping[str, Evidence]) -> str:
    """Every step of every curve of every photo, by its name, one per line."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for photo, one in found.items():
        for curve in one.curves:
            for share, probability in zip(curve.shares, curve.probabilities, strict=True):
                writer.writerow((text_cell(photo), curve.order, curve.game, f"{share:.6f}", f"{probability:.8g}"))
    return file.getvalue()
