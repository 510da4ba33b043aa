"""Risk and coverage against counting, image by image."""

import numpy as np
import pytest

from explorer.evaluation.metrics import wilson
from explorer.evaluation.selective import answered_line, answers_at, risk_coverage


def case(seed: int = 0, count: int = 40):
    draw = np.random.default_rng(seed)
    return np.round(draw.uniform(0.3, 1, count), 1), draw.uniform(size=count) < 0.7  # rounded: with ties


def test_the_curve_is_what_counting_gives_at_every_probability():
    probability, right = case()
    curve = risk_coverage(probability, right)
    assert curve.threshold.tolist() == sorted(set(probability), reverse=True)
    for threshold, coverage, risk in zip(curve.threshold, curve.coverage, curve.risk, strict=True):
        kept = [ok for value, ok in zip(probability, right, strict=True) if value >= threshold]
        assert coverage == pytest.approx(len(kept) / len(right))
        assert risk == pytest.approx(sum(not ok for ok in kept) / len(kept))
    assert curve.coverage[-1] == 1 and curve.risk[-1] == pytest.approx(1 - right.mean())


def test_a_threshold_leaves_what_lies_at_or_above_it():
    at = answers_at(np.array([0.5, 0.8, 0.9]), 0.8, np.array([True, False, True]))
    assert (at.answered, at.wrong, at.coverage, at.risk) == (2, 1, pytest.approx(2 / 3), 0.5)
    assert at.interval == wilson(1, 2)
    assert answered_line(at, 0.8) == (
        "Unsure below 80 %: 2 of 3 images get an answer (66.7 %), 50.0 % of those are wrong (9.5 % to 90.5 %)."
    )


def test_without_known_classes_or_answers_there_is_no_risk():
    unknown = answers_at(np.array([0.5, 0.9]), 0.6)
    assert unknown.risk is None and answered_line(unknown, 0.6).endswith("1 of 2 images get an answer (50.0 %).")
    assert answered_line(answers_at(np.array([0.5, 0.9]), 0), 0) == "All 2 images get an answer."
    assert answered_line(answers_at(np.array([0.5]), 0), 0) == "The image gets an answer."
    nothing = answers_at(np.array([0.5]), 0.6, np.array([True]))
    assert (nothing.answered, nothing.risk, nothing.interval) == (0, None, None)
