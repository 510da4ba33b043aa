"""The smallest set of patches that holds a share, against sorting by hand and DINO's own way."""

import math

import numpy as np
import pytest
import torch

from explorer.attention.mass import mass_mask
from explorer.errors import QueryError


def sorted_and_cumulated(weights, mass):
    """The mask by sorting and adding up, entry by entry."""
    flat = weights.ravel().astype(np.float64)
    keep, total = np.zeros(flat.size, bool), 0.0
    for entry in np.argsort(-flat, kind="stable"):
        if total >= mass * flat.sum():
            break
        keep[entry] = True
        total += flat[entry]
    return keep.reshape(weights.shape)


@pytest.mark.parametrize("mass", [0.01, 0.3, 0.6, 0.95, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_mass_mask_is_the_smallest_set_that_holds_the_mass(mass, seed):
    weights = np.random.default_rng(seed).gamma(0.3, size=(7, 5)).astype(np.float32)
    mask = mass_mask(weights, mass)
    np.testing.assert_array_equal(mask, sorted_and_cumulated(weights, mass))
    held, total = weights[mask].sum(dtype=np.float64), weights.sum(dtype=np.float64)
    assert held >= mass * total * (1 - 1e-12) and (held - weights[mask].min() < mass * total)


def test_mass_mask_is_dinos():
    # DINO's script sorts ascending, cumulates the normalised weights and keeps entries whose sum passes 1 - threshold.
    weights = torch.rand(6, 6, generator=torch.Generator().manual_seed(3))
    value, order = weights.flatten().sort()
    above = (value / value.sum()).cumsum(0) > 1 - 0.6
    assert mass_mask(weights.numpy(), 0.6).ravel().tolist() == above[order.argsort()].tolist()


def test_mass_mask_of_a_flat_map_keeps_some():
    assert mass_mask(np.ones((4, 5)), 0.5).sum() == 10


def test_of_entries_that_tie_the_first_are_kept():
    weights = np.array([[0.25, 0.25], [0.25, 0.25]])
    assert mass_mask(weights, 0.6).tolist() == [[True, True], [True, False]]
    assert mass_mask(weights, 0.5).tolist() == [[True, True], [False, False]]


def test_the_whole_mass_leaves_out_what_weighs_nothing():
    weights = np.array([[0.5, 0.0], [0.0, 0.25]])
    assert mass_mask(weights, 1.0).tolist() == [[True, False], [False, True]]
    assert not mass_mask(np.zeros((2, 2)), 1.0).any()


@pytest.mark.parametrize("mass", [0, -0.1, 1.01, math.nan])
def test_bad_mass(mass):
    with pytest.raises(QueryError, match="above 0 and up to 1"):
        mass_mask(np.ones((2, 2)), mass)
