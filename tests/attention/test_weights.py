"""Softmax, fusion over heads and mass masks against plain loops."""

import math

import numpy as np
import pytest
import torch

from explorer.attention.weights import each_head, fuse, fuse_each, pattern
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
