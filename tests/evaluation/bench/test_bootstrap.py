"""Intervals against scipy's bootstrap, and verdicts."""

import numpy as np
import pytest
from scipy import stats

from explorer.evaluation.bench.bootstrap import FEWEST, Resampled

VALUES = np.random.default_rng(0).normal(0.3, 0.2, 40)
OTHERS = VALUES - 0.05 + np.random.default_rng(1).normal(0, 0.05, 40)


def test_a_mean_and_its_interval_are_those_of_scipy():
    mean = Resampled(40).mean(VALUES)
    expected = stats.bootstrap((VALUES,), np.mean, n_resamples=10_000, method="percentile", rng=5).confidence_interval
    assert (mean.value, mean.photos) == (pytest.approx(VALUES.mean()), 40)
    assert (mean.low, mean.high) == pytest.approx((expected.low, expected.high), abs=0.004)


def test_a_verdict_is_about_the_same_photos():
    """Apart the two intervals overlap; on the same photos the difference is sure."""
    resampled = Resampled(40)
    high, low = resampled.mean(OTHERS).high, resampled.mean(VALUES).low
    assert high is not None and low is not None and high > low
    verdict = resampled.verdict("rollout", "gradient", OTHERS, VALUES)
    pairs = stats.bootstrap((VALUES - OTHERS,), np.mean, n_resamples=10_000, method="percentile", rng=5)
    assert (verdict.low, verdict.high) == pytest.approx(tuple(pairs.confidence_interval), abs=0.002)
    assert verdict.beats and verdict.gain == pytest.approx((VALUES - OTHERS).mean())
    assert verdict.words().startswith("gradient beats rollout on these photos: +0.0")


def test_where_all_photos_have_one_number_there_is_no_interval():
    """Six photos of which none is wrong say nothing of the width: 1.00 to 1.00 would be too sure."""
    resampled = Resampled(6)
    mean = resampled.mean(np.ones(6))
    assert (mean.value, mean.low, mean.high) == (1, None, None)
    verdict = resampled.verdict("gradient", "random", np.ones(6), np.zeros(6))
    assert verdict.beats and verdict.words() == "gradient beats random on these photos: +1.00 on every one"
    assert not resampled.verdict("a", "b", np.ones(6), np.ones(6)).beats


def test_no_sure_difference_and_too_few_photos_are_said():
    noise = np.random.default_rng(2).normal(0, 0.2, 40)
    unsure = Resampled(40).verdict("a", "b", VALUES, VALUES - noise + noise.mean() - 0.001)
    assert not unsure.beats and "show no sure difference" in unsure.words()
    few = Resampled(FEWEST - 1).verdict("a", "b", np.ones(FEWEST - 1), np.zeros(FEWEST - 1))
    assert not few.beats and f"{FEWEST - 1} photos are too few" in few.words()
