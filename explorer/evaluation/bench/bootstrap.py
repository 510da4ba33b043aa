"""Means over photos with their intervals, and whether one map is better than another: the paired bootstrap."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from explorer.words import with_sign

RESAMPLES = 10_000
ENDS = (2.5, 97.5)  # percentiles of a 95 % interval
FEWEST = 5  # photos from which a verdict is given


@dataclass(frozen=True)
class Mean:
    """Over photos, with its 95 % interval; None where all photos have one number, since no resample differs then."""

    value: float
    low: float | None
    high: float | None
    photos: int


@dataclass(frozen=True)
class Verdict:
    """Whether `first` is better than `second`: by how much on the same photos, with the 95 % interval as in Mean."""

    first: str
    second: str
    gain: float
    low: float | None
    high: float | None
    photos: int

    @property
    def surely(self) -> float:
        """What it gains at least."""
        return self.gain if self.low is None else self.low

    @property
    def beats(self) -> bool:
        return self.photos >= FEWEST and self.surely > 0

    def words(self) -> str:
        """ "gradient beats rollout on these photos: +0.24, 95 % +0.19 to +0.29"."""
        gain, ends = with_sign(self.gain), [with_sign(end) for end in (self.low, self.high) if end is not None]
        numbers = f"{gain}, 95 % {' to '.join(ends)}" if ends else f"{gain} on every one"
        if self.photos < FEWEST:
            return f"{self.first} and {self.second}: {self.photos} photos are too few for a verdict ({gain})"
        if self.beats:
            return f"{self.first} beats {self.second} on these photos: {numbers}"
        return f"{self.first} and {self.second}: these {self.photos} photos show no sure difference ({numbers})"


class Resampled:
    """The bootstrap's resamples of `photos` photos: the same for all maps, which makes their differences paired."""

    def __init__(self, photos: int, seed: int = 0):
        rng = np.random.default_rng(seed)
        self.photos = photos
        self._shares = rng.multinomial(photos, np.full(photos, 1 / photos), RESAMPLES) / photos

    def mean(self, values: Float[np.ndarray, " photo"]) -> Mean:
        """The mean with its percentile interval."""
        if np.ptp(values) == 0:
            return Mean(float(values[0]), None, None, self.photos)
        low, high = np.percentile(self._shares @ values, ENDS)
        return Mean(float(values.mean()), float(low), float(high), self.photos)

    def verdict(
        self, first: str, second: str, ours: Float[np.ndarray, " photo"], theirs: Float[np.ndarray, " photo"]
    ) -> Verdict:
        """Of two maps' numbers on the same photos, more being better; the better one comes first."""
        if theirs.mean() > ours.mean():
            first, second, ours, theirs = second, first, theirs, ours
        found = self.mean(ours - theirs)
        return Verdict(first, second, found.value, found.low, found.high, self.photos)
