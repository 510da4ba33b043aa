"""Softmax, fusion over heads and mass masks against plain loops."""

import math

import numpy as np
import pytest
import torch

from explorer.attention.weights import each_head, fuse, fuse_each, mass_mask, pattern
from explorer.errors import QueryError


@pytest.fixture
def qk():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 7, 5, generator=generator), torch.randn(3, 9, 5, generator=generator)


def reference(q, k, scale, bias):
    """softmax(q k^T * scale + bias) number by number, in Python floats."""
    out = np.zeros((q.shape[0], q.shape[1], k.shape[1]))
    for head, query in np.ndindex(*out.shape[:2]):
        scores = [
            scale * sum(a * b for a, b in zip(q[head, query].tolist(), key.tolist(), strict=True)) for key in k[head]
        ]
        if bias is not None:
            scores = [s + b for s, b in zip(scores, bias[min(head, len(bias) - 1), query].tolist(), strict=True)]
        powers = [math.exp(score) for score in scores]
        out[head, query] = [power / sum(powers) for power in powers]
    return out


@pytest.mark.parametrize("bias_heads", [None, 1, 3])
def test_pattern_is_softmax_row_by_row(qk, bias_heads):
    bias = None if bias_heads is None else torch.randn(bias_heads, 7, 9, generator=torch.Generator().manual_seed(1))
    q, k = qk
    expected = reference(q, k, 0.3, bias)
    np.testing.assert_allclose(pattern(q, k, 0.3, bias).numpy(), expected, atol=1e-6)
    one_by_one = np.stack([head.numpy().copy() for head in each_head(q, k, 0.3, bias)])
    np.testing.assert_allclose(one_by_one, expected, atol=1e-6)


def test_each_head_gives_scores_without_softmax(qk):
    q, k = qk
    for head, scores in enumerate(each_head(q, k, 2.0, softmax=False)):
        np.testing.assert_allclose(scores.numpy(), 2 * q[head].numpy() @ k[head].numpy().T, atol=1e-5)


@pytest.mark.parametrize("fusion,numpy_fusion", [("mean", np.mean), ("max", np.max), ("min", np.min)])
def test_both_ways_of_fusing(fusion, numpy_fusion):
    heads = torch.rand(4, 3, 6, generator=torch.Generator().manual_seed(2))
    expected = numpy_fusion(heads.numpy(), axis=0)
    np.testing.assert_allclose(fuse(heads, fusion).numpy(), expected, atol=1e-7)
    np.testing.assert_allclose(fuse_each(iter(heads), 4, fusion).numpy(), expected, atol=1e-7)


def test_unknown_fusion():
    with pytest.raises(QueryError, match="mean, max, min, not 'sum'"):
        fuse(torch.zeros(2, 2), "sum")
    with pytest.raises(QueryError):
        fuse_each(iter(torch.zeros(2, 2)), 2, "sum")


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
    mask = mass_mask(torch.from_numpy(weights), mass).numpy()
    np.testing.assert_array_equal(mask, sorted_and_cumulated(weights, mass))
    held, total = weights[mask].sum(dtype=np.float64), weights.sum(dtype=np.float64)
    assert held >= mass * total * (1 - 1e-12) and (held - weights[mask].min() < mass * total)


def test_mass_mask_is_dinos():
    # DINO's script sorts ascending, cumulates the normalised weights and keeps entries whose sum passes 1 - threshold.
    weights = torch.rand(6, 6, generator=torch.Generator().manual_seed(3))
    value, order = weights.flatten().sort()
    above = (value / value.sum()).cumsum(0) > 1 - 0.6
    assert torch.equal(mass_mask(weights, 0.6).flatten(), above[order.argsort()])


def test_mass_mask_of_a_flat_map_keeps_some():
    assert mass_mask(torch.ones(4, 5), 0.5).sum() == 10


def test_of_entries_that_tie_the_first_are_kept():
    weights = torch.tensor([[0.25, 0.25], [0.25, 0.25]])
    assert mass_mask(weights, 0.6).tolist() == [[True, True], [True, False]]
    assert mass_mask(weights, 0.5).tolist() == [[True, True], [False, False]]


def test_the_whole_mass_leaves_out_what_weighs_nothing():
    weights = torch.tensor([[0.5, 0.0], [0.0, 0.25]])
    assert mass_mask(weights, 1.0).tolist() == [[True, False], [False, True]]
    assert not mass_mask(torch.zeros(2, 2), 1.0).any()


@pytest.mark.parametrize("mass", [0, -0.1, 1.01, math.nan])
def test_bad_mass(mass):
    with pytest.raises(QueryError, match="above 0 and up to 1"):
        mass_mask(torch.ones(2, 2), mass)
