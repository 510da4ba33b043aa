"""A classifier that may say "unsure": which share of the images it answers, and how often it is wrong then.

Risk and coverage as in El-Yaniv and Wiener 2010; the probability of the likeliest class decides.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from explorer.evaluation.metrics import wilson
from explorer.words import percent


@dataclass(frozen=True)
class Answered:
    """What is left of some images where those below a probability count as unsure; wrong: None where no one knows."""

    images: int
    answered: int
    wrong: int | None = None

    @property
    def coverage(self) -> float:
        """The share of images that get an answer."""
        return self.answered / self.images

    @property
    def risk(self) -> float | None:
        """The share of answers that are wrong."""
        return self.wrong / self.answered if self.answered and self.wrong is not None else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the risk (Wilson)."""
        return wilson(self.wrong, self.answered) if self.answered and self.wrong is not None else None


def answers_at(
    probability: Float[np.ndarray, " image"], threshold: float, right: Bool[np.ndarray, " image"] | None = None
) -> Answered:
    """What is left of images with these probabilities of their likeliest class; right: which of them are, if known."""
    kept = probability >= threshold
    wrong = None if right is None else int((kept & ~right).sum())
    return Answered(len(probability), int(kept.sum()), wrong)


def answered_line(at: Answered, threshold: float) -> str:
    """ "Unsure below 80 %: 140 of 153 images get an answer (91.5 %), 2.1 % of those are wrong (0.7 % to 6.1 %)."."""
    answered = f"{at.answered:,} of {at.images:,} images get an answer ({percent(at.coverage)})"
    line = f"Unsure below {percent(threshold, 0)}: {answered}"
    if threshold == 0:
        line = f"All {at.images:,} images get an answer" if at.images > 1 else "The image gets an answer"
    if at.risk is None or at.interval is None:
        return f"{line}."
    return f"{line}, {percent(at.risk)} of those are wrong ({percent(at.interval[0])} to {percent(at.interval[1])})."


@dataclass(frozen=True)
class RiskCoverage:
    """One point for each probability that occurs, the surest images first."""

    threshold: Float[np.ndarray, " point"]
    coverage: Float[np.ndarray, " point"]
    risk: Float[np.ndarray, " point"]


def risk_coverage(probability: Float[np.ndarray, " image"], right: Bool[np.ndarray, " image"]) -> RiskCoverage:
    """The whole curve; images of the same probability are answered together or not at all."""
    order = np.argsort(-probability, kind="stable")
    falling, wrong = probability[order], np.cumsum(~right[order])
    last = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)  # of each run of equal probabilities
    count = last + 1
    return RiskCoverage(falling[last], count / len(falling), wrong[last] / count)
