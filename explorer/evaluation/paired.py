"""Two classifiers on the same images: how much better one is, and whether that is more than chance."""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from jaxtyping import Bool

NOISE = 0.05  # a gain that chance alone would give as often as this is no gain yet
Z = 1.96  # of a 95 % interval


@dataclass(frozen=True)
class Gain:
    """What the newer of two classifiers gains: images that only it has right, and those that only the other has.

    images: of all. The images that both have right, or neither, say nothing about which is better.
    """

    images: int
    won: int
    lost: int

    @staticmethod
    def of(before: Bool[np.ndarray, " image"], after: Bool[np.ndarray, " image"]) -> "Gain":
        """From which images each has right."""
        return Gain(len(before), int((after & ~before).sum()), int((before & ~after).sum()))

    @property
    def share(self) -> float:
        """Accuracy now minus accuracy before."""
        return (self.won - self.lost) / self.images

    @property
    def chance(self) -> float:
        """How often two equally good classifiers differ at least so much: McNemar's exact test, two-sided (1947)."""
        decided = self.won + self.lost
        from scipy.stats import binomtest  # slow to import

        return float(binomtest(self.won, decided).pvalue) if decided else 1.0

    @property
    def within_noise(self) -> bool:
        return self.chance >= NOISE

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of `share` (Bonett and Price 2012: Wald's with one image added to each kind of difference)."""
        won, lost = (self.won + 1) / (self.images + 2), (self.lost + 1) / (self.images + 2)
        half = Z * sqrt((won + lost - (won - lost) ** 2) / (self.images + 2))
        return max(-1.0, won - lost - half), min(1.0, won - lost + half)
