"""Every question to a recording against the whole pattern of its layer, and every bad question."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import explorer
from explorer.attention.recorder import Call
from explorer.errors import ExplorerError, ImageError, QueryError
from explorer.models.timm_models import create_timm, wrap_timm
from tests.tiny import photo, tiny_model


@pytest.fixture(scope="module")
def model():
    return tiny_model(reg_tokens=2)


@pytest.fixture(scope="module")
def recording(model):
    return explorer.record(model, photo(96, 64), fit="keep")


@pytest.fixture(scope="module")
def patterns(model, recording):
    """(layer, head, query, key): what the model's own unfused attention drops out, after softmax."""
    seen, parts = [], [block.attn for block in model.module.blocks]
    handles = [part.attn_drop.register_forward_hook(lambda m, args, out: seen.append(out[0].numpy())) for part in parts]
    for part in parts:
        part.fused_attn = False
    with torch.no_grad():
        model.forward(model.preprocess(photo(96, 64), fit="keep"))
    for part, handle in zip(parts, handles, strict=True):
        handle.remove()
        part.fused_attn = True
    return np.stack(seen)


def test_what_a_recording_says_of_itself(recording, model):
    assert recording.grid == (8, 12) and recording.image.size == (96, 64)
    assert recording.prefix_tokens == ("cls", "reg1", "reg2")
    assert (recording.depth, recording.num_heads, recording.patch_size) == (3, 4, 8)
    assert recording.tokens.shape == (99, 64) and recording.tokens.dtype == np.float32
    assert recording.logits.shape == (5,) and recording.logits.dtype == np.float32
    assert recording.precision == "float32" and recording.model_name == model.name


QUERIES = {"cls": 0, "reg1": 1, "reg2": 2, (0, 0): 3, (2, 5): 3 + 2 * 12 + 5, (7, 11): 98}


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("layer", [0, 1, 2, -1, -3])
def test_maps_of_every_query(recording, patterns, layer, query):
    rows = patterns[layer][:, QUERIES[query]]
    patches = rows[:, 3:].reshape(4, 8, 12)
    np.testing.assert_allclose(recording.rows(layer, query), rows, atol=1e-6)
    np.testing.assert_allclose(recording.heads(layer, query), patches, atol=1e-6)
    for head in range(4):
        np.testing.assert_allclose(recording.attention(layer, head, query), patches[head], atol=1e-6)
    for fusion in ("mean", "max", "min"):
        expected = getattr(patches, fusion)(axis=0)
        got = recording.attention(layer, fusion, query)
        np.testing.assert_allclose(got, expected, atol=1e-6)
        assert got.dtype == np.float32


def test_tokens_and_patches_keep_their_places_in_an_oblong_grid():
    """A distilled model whose every token looks at itself alone, asked by name and by (row, col)."""
    module = create_timm("deit_tiny_distilled_patch16_224", depth=1, embed_dim=64, num_heads=4, img_size=64)
    recording = explorer.record(wrap_timm(module, "distilled"), photo(96, 64), 64, "keep")
    assert recording.prefix_tokens == ("cls", "dist") and recording.grid == (4, 6)
    own = torch.eye(2 + 4 * 6).expand(4, -1, -1)
    recording = replace(recording, calls=[Call(own * 100, own, 1.0, None)])
    for row, col in np.ndindex(4, 6):
        heatmap = recording.attention(0, 1, (row, col))
        assert heatmap[row, col] == pytest.approx(1) and heatmap.sum() == pytest.approx(1)
    for index, name in enumerate(recording.prefix_tokens):
        assert recording.rows(0, name)[:, index] == pytest.approx(1) and recording.attention(0, 1, name).max() < 1e-6


def test_mean_query_is_the_mean_over_patch_queries(recording, patterns):
    expected = patterns[1][:, 3:, 3:].mean(axis=1).reshape(4, 8, 12)
    np.testing.assert_allclose(recording.heads(1, "mean"), expected, atol=1e-6)
    np.testing.assert_allclose(recording.attention(1, "max", "mean"), expected.max(axis=0), atol=1e-6)


def test_numpy_integers_are_integers(recording):
    expected = recording.attention(1, 2, (3, 4))
    got = recording.attention(np.int64(1), np.int64(2), (np.int32(3), np.int64(4)))
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("head", [0, 3, "mean", "max", "min"])
def test_matrices(recording, patterns, head):
    expected = patterns[2][head] if isinstance(head, int) else getattr(patterns[2], head)(axis=0)
    np.testing.assert_allclose(recording.matrix(2, head), expected, atol=1e-6)


def test_scores_are_what_softmax_makes_the_pattern_of(recording, patterns):
    scores = recording.matrix(2, 1, kind="scores")
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    np.testing.assert_allclose(powers / powers.sum(axis=1, keepdims=True), patterns[2][1], atol=1e-6)
    mean = np.mean([recording.matrix(2, head, kind="scores") for head in range(4)], axis=0)
    np.testing.assert_allclose(recording.matrix(2, "mean", kind="scores"), mean, atol=1e-5)


def test_mass_mask_holds_its_share_of_the_map(recording):
    heatmap = recording.attention(1, "mean", (4, 4))
    mask = recording.mass_mask(1, "mean", mass=0.5, query=(4, 4))
    assert mask.dtype == bool and mask.shape == (8, 12)
    assert heatmap[mask].sum() >= 0.5 * heatmap.sum() > heatmap[mask].sum() - heatmap[mask].min()
    assert heatmap[mask].min() >= heatmap[~mask].max()


def test_models_without_cls_answer_with_the_mean_over_patches():
    recording = explorer.record(tiny_model(class_token=False, global_pool="avg"), photo())
    assert recording.prefix_tokens == () and recording.default_query == "mean"
    np.testing.assert_array_equal(recording.attention(1), recording.attention(1, "mean", "mean"))
    with pytest.raises(QueryError, match="no 'cls' token; ask from mean or a patch"):
        recording.attention(1, "mean", "cls")


@pytest.mark.parametrize(
    "question",
    [
        lambda r: r.attention(3),
        lambda r: r.attention(-4),
        lambda r: r.attention("last"),
        lambda r: r.attention(1.5),
        lambda r: r.attention(0, 4),
        lambda r: r.attention(0, -1),
        lambda r: r.attention(0, "sum"),
        lambda r: r.attention(0, None),
        lambda r: r.attention(0, "median"),
        lambda r: r.attention(0, 0, "dist"),
        lambda r: r.attention(0, 0, "reg9"),
        lambda r: r.attention(0, 0, (100, 100)),
        lambda r: r.attention(0, 0, (8, 0)),
        lambda r: r.attention(0, 0, (0, 12)),
        lambda r: r.attention(0, 0, (-1, 0)),
        lambda r: r.attention(0, 0, (1, 2, 3)),
        lambda r: r.attention(0, 0, (1.5, 2)),
        lambda r: r.attention(0, 0, 7),
        lambda r: r.matrix(0, 0, kind="values"),
        lambda r: r.matrix(0, "sum"),
        lambda r: r.matrix(0, 9),
        lambda r: r.mass_mask(0, mass=0),
        lambda r: r.token_norms(4),
        lambda r: r.rollout(query="dist"),
        lambda r: r.q(7),
        lambda r: r.call(-4),
        lambda r: r.mass_mask(0, mass=float("nan")),
        lambda r: r.rollout(discard_ratio=1.0),
    ],
)
def test_bad_questions_get_one_sentence(recording, question):
    with pytest.raises(QueryError) as caught:
        question(recording)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_over_the_byte_budget_everything_is_kept_in_half_precision(model, recording):
    picture = photo(96, 64)
    full = 2 * 3 * 99 * 64 * 4  # q and k, layers, tokens, width, bytes
    assert explorer.record(model, picture, fit="keep", byte_budget=full).precision == "float32"
    half = explorer.record(model, picture, fit="keep", byte_budget=full - 1)
    assert half.precision == "float16"
    assert {t.dtype for call in half.calls for t in (call.q, call.k)} == {torch.float16}
    assert half.q(0).dtype == torch.float32
    for layer in range(3):
        np.testing.assert_allclose(half.attention(layer), recording.attention(layer), atol=2e-3)
    np.testing.assert_allclose(half.rollout(), recording.rollout(), atol=2e-3)


@pytest.mark.parametrize("shared", [False, True])
def test_a_bias_counts_towards_the_byte_budget_and_a_shared_one_once(shared):
    module = create_timm(
        "beit_base_patch16_224", depth=2, embed_dim=64, num_heads=4, img_size=64,
        use_rel_pos_bias=not shared, use_shared_rel_pos_bias=shared,
    )  # fmt: skip
    for name, parameter in module.named_parameters():
        if "bias_table" in name:
            parameter.data.normal_()  # zero until trained, the same in every layer
    model = wrap_timm(module, "beit")
    tokens = 4 * 4 + 1
    queries_and_keys = 2 * 2 * tokens * 64 * 4
    biases = (1 if shared else 2) * 4 * tokens * tokens * 4
    assert explorer.record(model, photo(), byte_budget=queries_and_keys + biases).precision == "float32"
    half = explorer.record(model, photo(), byte_budget=queries_and_keys + biases - 1)
    bias = half.calls[0].bias
    assert half.precision == "float16" and bias is not None and bias.dtype == torch.float16
    assert (half.bias(0) is half.bias(1)) == shared
    at_once = explorer.record(model, photo(), byte_budget=1)
    assert (at_once.bias(0) is at_once.bias(1)) == shared


def test_any_image_that_opens_is_recorded(model):
    pixels = np.array(photo(64, 64))
    first = explorer.record(model, pixels)
    np.testing.assert_array_equal(first.attention(0), explorer.record(model, photo(64, 64)).attention(0))
    with pytest.raises(ImageError):
        explorer.record(model, b"no image")
    with pytest.raises(ImageError, match="isn't a multiple of the patch size"):
        explorer.record(model, photo(), size=65)


def test_query_errors_are_explorer_errors():
    assert issubclass(QueryError, ExplorerError)
