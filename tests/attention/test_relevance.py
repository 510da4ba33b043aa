"""Class relevance against a float64 reference made of full matrices, layer by layer."""

import copy
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

import explorer
from explorer.attention.limits import kept_bytes
from explorer.attention.maps.relevance import relevance as both_rules
from explorer.attention.targets import class_index
from explorer.errors import QueryError
from tests.tiny import photo, tiny_model


def reference(model, image, score, start, start_layer=0, fit="crop"):
    """R = R + A_l R with whole float64 matrices; A and its gradient come from timm's unfused attention, by hooks."""
    module = copy.deepcopy(model.module).double()
    patterns = []
    for block in module.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda _module, inputs, _out: patterns.append(inputs[0]))
    pixels = model.preprocess(image, fit=fit).double().requires_grad_()
    tokens = module.forward_features(pixels)
    gradients = torch.autograd.grad(score(tokens[0], module.forward_head(tokens)[0]), patterns)
    size = patterns[0].shape[-1]
    result = torch.eye(size, dtype=torch.float64)
    for pattern, gradient in list(zip(patterns, gradients, strict=True))[start_layer:]:
        result = result + (pattern[0] * gradient[0]).clamp_min(0).mean(0) @ result
    return (start.double() @ result.detach()).numpy()


def relevance(recording, *args, **settings):
    """ "token" by Chefer's own rule."""
    return both_rules(recording, *args, balanced=False, **settings).tokens


def cls_row(tokens):
    return F.one_hot(torch.tensor(0), tokens)


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def recording(model):
    return explorer.record(model, photo())


@pytest.mark.parametrize("target", range(5))
@pytest.mark.parametrize("start_layer", [0, 1, 2])
def test_every_layer_matches_the_full_matrices(model, recording, target, start_layer):
    expected = reference(model, photo(), lambda _tokens, logits: logits[target], cls_row(65), start_layer)
    got = relevance(recording, target, start_layer=start_layer).numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6 * expected.max())


def test_patches_only_and_the_predicted_class_by_default(recording):
    best = int(recording.logits.argmax())
    got = recording.relevance()
    assert got.shape == (8, 8) and got.dtype == np.float32
    np.testing.assert_array_equal(got, recording.relevance(best))
    np.testing.assert_array_equal(got.ravel(), relevance(recording, best).numpy()[1:])
    assert not np.allclose(got, recording.relevance((best + 1) % 5))


def test_registers_and_a_grid_that_is_not_square():
    model = tiny_model(reg_tokens=2)
    recording = explorer.record(model, photo(96, 64), fit="keep")
    assert recording.grid == (8, 12)
    expected = reference(model, photo(96, 64), lambda _tokens, logits: logits[3], cls_row(99), fit="keep")
    np.testing.assert_allclose(recording.relevance(3).ravel(), expected[3:], rtol=1e-4, atol=1e-6 * expected.max())


def test_similarity_to_a_second_image():
    model = tiny_model(num_classes=0)
    recording, other = explorer.record(model, photo()), explorer.record(model, photo(seed=9))
    anchor = torch.from_numpy(other.feature).double()
    expected = reference(model, photo(), lambda tokens, _: F.cosine_similarity(tokens[0], anchor, dim=0), cls_row(65))
    got = relevance(recording, similar_to=other).numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-5 * expected.max())


def test_similarity_to_a_clicked_patch_where_there_is_no_cls():
    model = tiny_model(num_classes=0, class_token=False, global_pool="avg")
    recording = explorer.record(model, photo())
    anchor = torch.from_numpy(recording.tokens[2 * 8 + 3]).double()

    def score(tokens, _):
        return F.cosine_similarity(tokens.mean(0), anchor, dim=0)

    expected = reference(model, photo(), score, torch.full((64,), 1 / 64))
    got = recording.relevance(similar_to=(2, 3))
    np.testing.assert_allclose(got.ravel(), expected, rtol=1e-3, atol=1e-5 * expected.max())


def test_a_bias_before_softmax_is_part_of_the_pattern(monkeypatch):
    model = tiny_model()
    bias = torch.randn(1, 4, 65, 65, generator=torch.Generator().manual_seed(3)) * 2
    module: Any = model.module
    attention = type(module.blocks[0].attn)
    plain = attention.forward
    monkeypatch.setattr(attention, "forward", lambda self, x, **_: plain(self, x, attn_mask=bias.to(x.dtype)))
    recording = explorer.record(model, photo())
    expected = reference(model, photo(), lambda _tokens, logits: logits[1], cls_row(65))
    np.testing.assert_allclose(relevance(recording, 1).numpy(), expected, rtol=1e-4, atol=1e-6 * expected.max())


def test_models_built_without_fused_attention_give_the_same(recording):
    model = tiny_model()
    module: Any = model.module
    for block in module.blocks:
        block.attn.fused_attn = False
    got = explorer.record(model, photo()).relevance(1)
    np.testing.assert_allclose(got, recording.relevance(1), rtol=1e-5)
    assert not any(block.attn.fused_attn for block in module.blocks)


class ExplicitMode(TorchFunctionMode):
    """Attention as plain softmax in float64, every pattern kept: a reference for models with rotary embeddings."""

    def __init__(self):
        super().__init__()
        self.patterns = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        q, k, v = args
        self.patterns.append((q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(dim=-1))
        return self.patterns[-1] @ v


@pytest.mark.slow
def test_rotary_embeddings_and_gated_layers_match_too():
    model = explorer.load_model("timm:eva02_tiny_patch14_224", device="cpu", pretrained=False)
    recording = explorer.record(model, photo(), size=56)
    got = relevance(recording, similar_to=(1, 2)).numpy()
    module = copy.deepcopy(model.module).double()
    pixels = model.pixels(recording.image).double().requires_grad_()
    anchor = torch.from_numpy(recording.tokens[1 + 1 * 4 + 2]).double()
    with ExplicitMode() as mode:
        tokens, _ = replace(model, module=module).forward(pixels)
    start = cls_row(17) if model.prefix_tokens else torch.full((16,), 1 / 16)
    score = F.cosine_similarity((start.double() @ tokens[0]), anchor, dim=0)
    result = torch.eye(len(start), dtype=torch.float64)
    for pattern, gradient in zip(mode.patterns, torch.autograd.grad(score, mode.patterns), strict=True):
        result = result + (pattern[0] * gradient[0]).clamp_min(0).mean(0) @ result
    expected = (start.double() @ result.detach()).numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-5 * np.abs(expected[1:]).max())


def test_parameters_are_left_as_they_were(model, recording):
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    recording.relevance(1)
    assert all(torch.equal(before[name], value) for name, value in model.module.state_dict().items())
    assert all(p.grad is None and not p.requires_grad for p in model.module.parameters())


def test_parameters_that_want_gradients_get_none():
    model = tiny_model()
    frozen = explorer.record(model, photo()).relevance(1)
    model.module.requires_grad_(True)
    np.testing.assert_array_equal(explorer.record(model, photo()).relevance(1), frozen)
    assert all(p.grad is None for p in model.module.parameters())


def test_works_inside_inference_mode(recording):
    expected = recording.relevance(2)
    with torch.inference_mode():
        np.testing.assert_array_equal(recording.relevance(2), expected)


def test_threads_share_one_model(recording):
    expected = [recording.relevance(target) for target in range(5)]
    got: dict[int, np.ndarray] = {}

    def work(target):
        got[target] = recording.relevance(target)

    threads = [threading.Thread(target=work, args=(target,)) for target in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for target in range(5):
        np.testing.assert_allclose(got[target], expected[target], rtol=1e-5)


def test_names_in_any_case(recording):
    np.testing.assert_array_equal(recording.relevance("GERMAN shepherd"), recording.relevance(2))


NAMES = ["tabby, tabby cat", "crane", "tiger cat", "crane", "tiger"]


def test_class_names():
    assert [class_index(name, ["ant", "Ant", "ANT"], 3) for name in ("ANT", "ant", "Ant")] == [2, 0, 1]
    with pytest.raises(QueryError, match="classes 0, 1"):
        class_index("aNT", ["ant", "Ant"], 2)
    assert class_index("K\u00e4fer", ["bee", "Ka\u0308fer"], 2) == 1  # one character, or two
    assert class_index("Tabby Cat", NAMES, 5) == 0
    assert class_index("tiger", NAMES, 5) == 4
    assert class_index(4, NAMES, 5) == 4


DIGITS = ["0", "1", "10", "2", "shoe"]


@pytest.mark.parametrize(
    ("target", "index"), [("10", 2), ("2", 3), (2, 2), (10, None), ("3", 3), ("4", 4), ("5", None), (" 1 ", 1)]
)
def test_a_name_that_exists_comes_before_an_index(target, index):
    if index is None:
        with pytest.raises(QueryError, match="0 to 4"):
            class_index(target, DIGITS, 5)
    else:
        assert class_index(target, DIGITS, 5) == index


def test_an_index_as_text_where_no_names_are_known():
    assert class_index("3", None, 5) == 3
    with pytest.raises(QueryError, match="0 to 4"):
        class_index("7", None, 5)


@pytest.mark.parametrize(
    ("target", "names", "said"),
    [
        ("crane", NAMES, "classes 1, 3"),
        ("tigre", NAMES, "tiger"),
        ("cat", NAMES, "tabby, tabby cat; tiger cat"),
        ("zzz", NAMES, "there are 5"),
        ("tiger", None, "0 to 4"),
        (5, NAMES, "0 to 4"),
        (-1, NAMES, "0 to 4"),
    ],
)
def test_unknown_classes_are_named_with_what_would_work(target, names, said):
    with pytest.raises(QueryError, match=said):
        class_index(target, names, 5)


def test_a_model_without_classes_asks_for_a_second_image():
    with pytest.raises(QueryError, match="similar_to"):
        explorer.record(tiny_model(num_classes=0), photo()).relevance()


def test_recordings_of_two_widths_are_not_compared(recording):
    other = replace(recording, tokens=recording.tokens[:, :32])
    with pytest.raises(QueryError, match="same one"):
        recording.relevance(similar_to=other)


@pytest.mark.parametrize("start_layer", [-1, 3])
def test_a_start_layer_outside_the_model_is_refused(recording, start_layer):
    with pytest.raises(QueryError, match="0 to 2"):
        recording.relevance(start_layer=start_layer)


def test_over_the_memory_budget_a_size_that_fits_is_offered(model, recording):
    budget = kept_bytes(model, 1 + 5 * 5)
    with pytest.raises(QueryError, match="size 40 or less"):
        relevance(recording, budget=budget)
    assert relevance(explorer.record(model, photo(), size=40), budget=budget).shape == (26,)


class OneLayer(nn.Module):
    """Attention over the patches' own pixels: no other matrix product, and a gradient that bfloat16 holds exactly."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(4.0), requires_grad=False)

    def forward_features(self, pixels):
        patches = F.unfold(self.scale * pixels[:, :1], 8, stride=8).transpose(1, 2)
        x = torch.cat([patches.mean(1, keepdim=True), patches], 1)
        heads = x.unflatten(-1, (4, 16)).transpose(1, 2)
        return x + F.scaled_dot_product_attention(heads, heads, heads).transpose(1, 2).flatten(2)

    def forward_head(self, tokens):
        return tokens.sum(1).unflatten(-1, (16, 4)).sum(1)


def test_the_rule_is_computed_in_full_precision_under_autocast():
    recording = explorer.record(replace(tiny_model(depth=1, num_classes=4), module=OneLayer().eval()), photo())
    expected = recording.relevance(2)
    with torch.autocast("cpu", torch.bfloat16):
        np.testing.assert_allclose(recording.relevance(2), expected, atol=1e-6, rtol=1e-5)
