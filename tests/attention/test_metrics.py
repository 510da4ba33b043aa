"""Numbers of heads against plain loops over whole patterns, and heads whose numbers are known."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import explorer
from explorer.attention.metrics import head_entropy, mean_attention_distance, patch_centres, prefix_share
from explorer.attention.recorder import Call
from explorer.errors import QueryError
from tests.tiny import photo, tiny_model


@pytest.fixture(scope="module", params=[{"reg_tokens": 2}, {"class_token": False, "global_pool": "avg"}])
def recording(request):
    return explorer.record(tiny_model(**request.param), photo(88, 128), 88, fit="keep")  # 16 x 11 patches of 8 px


def test_entropy(recording):
    for query in (None, (2, 3)):
        rows = recording.rows(1, query)
        expected = [-sum(p * math.log(p) for p in row.tolist() if p > 0) for row in rows]
        np.testing.assert_allclose(head_entropy(recording, 1, query), expected, rtol=1e-5)


def test_prefix_share(recording):
    rows, prefix = recording.rows(2, (2, 3)), len(recording.prefix_tokens)
    expected = [sum(row.tolist()[:prefix]) for row in rows]
    np.testing.assert_allclose(prefix_share(recording, 2, (2, 3)), expected, atol=1e-6)
    patches = recording.heads(2, (2, 3)).sum(axis=(1, 2))
    np.testing.assert_allclose(prefix_share(recording, 2, (2, 3)) + patches, 1, atol=1e-5)


def test_distance(recording):
    rows, cols = recording.grid
    prefix = len(recording.prefix_tokens)
    centres = [(8 * row + 4, 8 * col + 4) for row in range(rows) for col in range(cols)]
    distances = np.array([[math.dist(a, b) for b in centres] for a in centres])
    got = mean_attention_distance(recording, 1)
    for head in range(recording.num_heads):
        weights = recording.matrix(1, head)[prefix:, prefix:].astype(np.float64)
        expected = (weights * distances).sum(axis=1) / weights.sum(axis=1)
        assert got[head] == pytest.approx(expected.mean(), rel=1e-4)


def test_patch_centres():
    assert patch_centres((2, 3), 16).tolist() == [[8, 8], [8, 24], [8, 40], [24, 8], [24, 24], [24, 40]]


def made_up(recording, sharpness):
    """The recording with heads that look at their own patch (sharpness high) or at all tokens alike (0)."""
    call = recording.calls[0]
    own = torch.eye(call.k.shape[1]).expand(recording.num_heads, -1, -1)
    return replace(recording, calls=[Call(own * sharpness, own, 1.0, None)])


def test_a_head_that_looks_at_itself(recording):
    narrow = made_up(recording, 1000.0)
    np.testing.assert_allclose(mean_attention_distance(narrow, 0), 0, atol=1e-4)
    np.testing.assert_allclose(head_entropy(narrow, 0, (3, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(prefix_share(narrow, 0, (3, 3)), 0, atol=1e-6)


def test_a_head_that_looks_at_no_patch_at_all():
    recording = explorer.record(tiny_model(), photo())
    call = recording.calls[0]
    k = torch.zeros_like(call.k)
    k[:, 0] = 1
    only_cls = replace(recording, calls=[Call(torch.ones_like(call.q), k, 100.0, None)])
    assert only_cls.heads(0, (3, 3)).max() == 0
    np.testing.assert_array_equal(mean_attention_distance(only_cls, 0), 0)
    np.testing.assert_array_equal(prefix_share(only_cls, 0, (3, 3)), 1)


def test_numbers_of_a_layer_that_is_not_there(recording):
    for number in (head_entropy, prefix_share, mean_attention_distance):
        with pytest.raises(QueryError, match="layers 0 to 2; 3 is none of them"):
            number(recording, 3)


def test_a_head_that_looks_everywhere(recording):
    wide, tokens = made_up(recording, 0.0), len(recording.tokens)
    np.testing.assert_allclose(head_entropy(wide, 0, (3, 3)), math.log(tokens), rtol=1e-5)
    np.testing.assert_allclose(prefix_share(wide, 0, (3, 3)), len(recording.prefix_tokens) / tokens, rtol=1e-5)
    rows, cols = np.indices(recording.grid).reshape(2, -1) * 8.0
    expected = np.hypot(rows[:, None] - rows, cols[:, None] - cols).mean()
    np.testing.assert_allclose(mean_attention_distance(wide, 0), expected, rtol=1e-4)
