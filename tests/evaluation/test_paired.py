"""McNemar's exact test and the interval of a paired difference, against formulas written out."""

from math import comb

import numpy as np
import pytest

from explorer.evaluation.paired import Gain


def two_sided(won: int, lost: int) -> float:
    """Twice the smaller tail of a fair coin, by hand."""
    n = won + lost
    tail = sum(comb(n, k) for k in range(min(won, lost) + 1)) / 2**n
    return min(1.0, 2 * tail)


@pytest.mark.parametrize("won, lost", [(0, 0), (1, 0), (5, 5), (3, 2), (9, 1), (40, 21), (0, 6)])
def test_chance_is_mcnemars_exact_test(won, lost):
    assert Gain(200, won, lost).chance == pytest.approx(two_sided(won, lost))


def test_noise_ends_where_chance_is_one_in_twenty():
    assert Gain(100, 5, 0).within_noise and not Gain(100, 6, 0).within_noise
    assert Gain(100, 0, 0).within_noise


def test_won_and_lost_are_counted_image_by_image():
    before = np.array([True, True, False, False, False])
    after = np.array([True, False, True, True, False])
    gain = Gain.of(before, after)
    assert gain == Gain(5, won=2, lost=1)
    assert gain.share == pytest.approx(after.mean() - before.mean())


def test_the_interval_holds_the_true_gain_about_as_often_as_it_says():
    draw, true = np.random.default_rng(0), 0.12 - 0.05
    inside = 0
    for _ in range(1000):
        won, lost, _ = draw.multinomial(150, [0.12, 0.05, 0.83])
        low, high = Gain(150, won, lost).interval
        inside += low <= true <= high
    assert 930 <= inside <= 980


def test_the_interval_stays_within_what_is_possible():
    assert Gain(1, 1, 0).interval[1] <= 1 and Gain(1, 0, 1).interval[0] >= -1
