"""Rollout from one query against the textbook form: whole matrices, products and float64."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import explorer
from explorer.attention.maps.rollout import rollout
from explorer.errors import QueryError
from explorer.models.timm_models import create_timm, wrap_timm
from tests.tiny import blocks_of, photo, tiny_model

MODELS = {
    "cls": {},
    "registers": {"reg_tokens": 4},
    "no cls": {"class_token": False, "global_pool": "avg"},
}


@pytest.fixture(scope="module", params=MODELS)
def recording(request):
    model = tiny_model(**MODELS[request.param])
    return explorer.record(model, photo(72, 128), 72, fit="keep")  # 16 x 9 patches: more rows than a block holds


def textbook(recording, fusion, discard_ratio, start_layer):
    """A'_L ... A'_start in float64 with A' = 0.5 A + 0.5 I, rows divided by their sums; (token, token)."""
    tokens = len(recording.tokens)
    product = np.eye(tokens)
    for layer in range(start_layer, recording.depth):
        scores = recording.q(layer).double() @ recording.k(layer).double().transpose(-2, -1) * recording.scale(layer)
        heads = scores.softmax(dim=-1).numpy()
        fused = getattr(heads, fusion)(axis=0)
        lowest = np.argsort(fused, axis=None)[: int(discard_ratio * fused.size)]
        drop = np.zeros(fused.size, bool)
        drop[lowest] = True
        drop = drop.reshape(fused.shape) & ~np.eye(tokens, dtype=bool)
        if "cls" in recording.prefix_tokens:
            drop[:, recording.prefix_tokens.index("cls")] = False
        matrix = 0.5 * np.where(drop, 0, fused) + 0.5 * np.eye(tokens)
        product = matrix / matrix.sum(axis=1, keepdims=True) @ product
    return product


@pytest.mark.parametrize("fusion", ["mean", "max", "min"])
@pytest.mark.parametrize("discard_ratio", [0.0, 0.3, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("start_layer", [0, 2])
def test_every_setting(recording, fusion, discard_ratio, start_layer):
    product = textbook(recording, fusion, discard_ratio, start_layer)
    for query in (None, (3, 7), "mean"):
        expected = product[recording.query_indices(query)].mean(axis=0)[len(recording.prefix_tokens) :]
        got = recording.rollout(query, fusion, discard_ratio, start_layer)
        assert got.dtype == np.float32 and got.shape == recording.grid
        np.testing.assert_allclose(got.ravel(), expected, atol=1e-6, rtol=1e-4)


def test_defaults(recording):
    np.testing.assert_array_equal(recording.rollout(), recording.rollout(recording.default_query, "mean", 0.0, 0))


def test_the_last_layer_alone_is_half_its_attention_and_half_the_query():
    recording = explorer.record(tiny_model(), photo())
    expected = 0.5 * recording.attention(2, "mean", (1, 1))
    expected[1, 1] += 0.5
    np.testing.assert_allclose(recording.rollout((1, 1), start_layer=2), expected, atol=1e-7)


def test_a_row_of_the_rollout_sums_to_one_over_all_tokens(recording):
    for fusion in ("mean", "max", "min"):
        row = rollout(recording, [0], fusion, 0.5)
        assert float(row.sum()) == pytest.approx(1, abs=1e-5) and (row >= 0).all()


@pytest.mark.slow
def test_rows_are_normalised_and_columns_are_not(recording):
    for fusion in ("max", "min"):  # fused so, the rows of A itself do not add up to 1
        tokens = range(len(recording.tokens))
        product = torch.stack([rollout(recording, [token], fusion) for token in tokens]).double()
        np.testing.assert_allclose(product.sum(dim=1), 1, atol=1e-5)
        assert (product.sum(dim=0) - 1).abs().max() > 0.1


def test_two_tokens_by_hand():
    """A = [[.9, .1], [.4, .6]] and [[.2, .8], [.5, .5]]: A' = (A + I) / 2, R = A'_2 A'_1."""
    model = tiny_model(depth=2, patch_size=64)
    recording = explorer.record(model, photo())
    calls = []
    for call, pattern in zip(recording.calls, ([[0.9, 0.1], [0.4, 0.6]], [[0.2, 0.8], [0.5, 0.5]]), strict=True):
        scores = torch.tensor(pattern).log()  # softmax gives them back: their rows add up to 1
        shape = call.q.shape
        q, k = torch.zeros(shape), torch.zeros(shape)
        q[:, :, :2], k[:, :, :2] = scores, torch.eye(2)
        calls.append(replace(call, q=q, k=k, scale=1.0))
    recording = replace(recording, calls=calls)
    np.testing.assert_allclose(recording.matrix(1, 0), [[0.2, 0.8], [0.5, 0.5]], atol=1e-6)
    # row cls of A'_2 is (.6, .4); A'_1 is ((.95, .05), (.2, .8)): .6 * .05 + .4 * .8 = .35 on the one patch
    assert recording.rollout("cls").item() == pytest.approx(0.35, abs=1e-6)
    assert recording.rollout((0, 0)).item() == pytest.approx(0.25 * 0.05 + 0.75 * 0.8, abs=1e-6)


def test_a_bias_goes_into_the_rollout():
    module = create_timm("vit_relpos_small_patch16_224", depth=2, embed_dim=64, num_heads=4, img_size=64)
    model = wrap_timm(module, "relpos")
    for block in blocks_of(model):
        block.attn.rel_pos.mlp.fc2.weight.normal_(std=3)  # else the bias is near zero
    recording = explorer.record(model, photo())
    matrices = [0.5 * recording.matrix(layer).astype(np.float64) for layer in range(recording.depth)]
    product = np.eye(len(recording.tokens))
    for matrix in matrices:
        product = (matrix + 0.5 * np.eye(len(matrix))) @ product
    assert recording.bias(0) is not None
    np.testing.assert_allclose(recording.rollout().ravel(), product.mean(axis=0), atol=1e-6)


def test_a_flat_map_has_no_lowest_entries_to_discard():
    recording = explorer.record(tiny_model(reg_tokens=2), photo())
    flat = replace(recording, calls=[replace(call, q=torch.zeros_like(call.q)) for call in recording.calls])
    np.testing.assert_array_equal(flat.rollout((3, 3), discard_ratio=0.9), flat.rollout((3, 3)))


def test_half_precision_recordings_roll_out():
    model = tiny_model()
    half = explorer.record(model, photo(), byte_budget=1)
    np.testing.assert_allclose(
        half.rollout(discard_ratio=0.5), explorer.record(model, photo()).rollout(discard_ratio=0.5), atol=2e-3
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"fusion": "sum"},
        {"discard_ratio": 1.0},
        {"discard_ratio": -0.1},
        {"start_layer": 3},
        {"start_layer": -1},
        {"start_layer": 1.5},
        {"start_layer": "first"},
        {"discard_ratio": float("nan")},
        {"query": (99, 0)},
    ],
)
def test_bad_settings(recording, settings):
    with pytest.raises(QueryError):
        recording.rollout(**settings)


def test_discarding_leaves_the_recording_as_it_was(recording):
    before = [torch.clone(call.q) for call in recording.calls]
    recording.rollout(discard_ratio=0.9)
    assert all(torch.equal(call.q, q) for call, q in zip(recording.calls, before, strict=True))
