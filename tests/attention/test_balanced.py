"""Balanced gradients: every rule against its formula, the forward pass bit for bit, and accounts that close."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import explorer
from explorer.attention.balanced import BalancedMode, Completeness
from explorer.attention.force_sdpa import visible_attention
from explorer.attention.maps import gradient, relevance
from explorer.errors import UnsupportedModelError
from explorer.models.timm_models import wrap_timm
from explorer.models.transformers_models import create_transformers, wrap_transformers
from tests.explicit import double, pixels_of, run, with_biases
from tests.models.test_families import ACCOUNTABLE, SMALL, TRANSFORMERS, sharpen, small_size, small_timm
from tests.tiny import blocks_of, photo, tiny_model


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def const(x: torch.Tensor) -> torch.Tensor:
    return x.detach()


X, W, B = draw(3, 8), draw(8, seed=1), draw(8, seed=2)
Y = draw(3, 8, seed=3)
EPS = 1e-6


def normed(x, weight: Any = 1.0, bias: Any = 0.0, eps=1e-5):
    deviation = (x.var(-1, unbiased=False, keepdim=True) + eps).sqrt()
    return (x - x.mean(-1, keepdim=True)) / const(deviation) * weight + bias


def root_mean_square(x, weight: Any = 1.0, eps=EPS):
    return x / const((x.square().mean(-1, keepdim=True) + eps).sqrt()) * weight


def attended(x):
    pattern = const((x @ Y.T / math.sqrt(8)).softmax(-1))
    return pattern @ x


ERF = lambda x: (1 + torch.erf(x / math.sqrt(2))) / 2  # noqa: E731
TANH = lambda x: (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2  # noqa: E731
RULES: dict[str, tuple[Any, Any]] = {
    "layer_norm": (lambda x: F.layer_norm(x, (8,)), normed),
    "layer_norm by position": (lambda x: F.layer_norm(x, (8,), W, B, EPS), lambda x: normed(x, W, B, EPS)),
    "layer_norm by keyword": (
        lambda x: F.layer_norm(input=x, normalized_shape=(8,), bias=B, weight=W, eps=EPS),
        lambda x: normed(x, W, B, EPS),
    ),
    "rms_norm": (lambda x: F.rms_norm(x, (8,), W, EPS), lambda x: root_mean_square(x, W)),
    "rms_norm by keyword": (
        lambda x: F.rms_norm(x, [8], weight=None, eps=EPS),
        lambda x: root_mean_square(x),
    ),
    "rms_norm written out": (
        lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS),
        lambda x: root_mean_square(x),
    ),
    "gelu": (F.gelu, lambda x: x * const(ERF(x))),
    "gelu by tanh": (lambda x: F.gelu(x, approximate="tanh"), lambda x: x * const(TANH(x))),
    "silu": (F.silu, lambda x: x * const(x.sigmoid())),
    "quick gelu": (lambda x: x * torch.sigmoid(1.702 * x), lambda x: x * const(torch.sigmoid(1.702 * x))),
    "relu": (F.relu, F.relu),
    "swiglu": (
        lambda x: F.silu(x[:, :4]) * x[:, 4:],
        lambda x: (x[:, :4] * const(x[:, :4].sigmoid()) * const(x[:, 4:])) / 2 + const(F.silu(x[:, :4])) * x[:, 4:] / 2,
    ),
    "attention": (
        lambda x: F.scaled_dot_product_attention(x[None, None], Y[None, None], x[None, None])[0, 0],
        attended,
    ),
    "attention written out": (lambda x: (x @ Y.T / math.sqrt(8)).softmax(-1) @ x, attended),
    "layer scale": (lambda x: x.mul(W), lambda x: x * W),
    "cosine": (
        lambda x: F.cosine_similarity(x[0], B, dim=0),
        lambda x: (x[0] * B).sum() / const(x[0].norm() * B.norm()),
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_every_rule_against_its_formula(name):
    function, formula = RULES[name]
    x, again = X.clone().requires_grad_(), X.clone().requires_grad_()
    with BalancedMode("a model"):
        got = function(x)
    expected = formula(again)
    weight = draw(*expected.shape, seed=9)
    # the formula leaves out what a halved product has twice: only its gradient counts
    torch.testing.assert_close(got, function(X))
    gradients = (torch.autograd.grad((out * weight).sum(), at)[0] for out, at in ((got, x), (expected, again)))
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("activation", [F.gelu, F.silu, F.mish, F.hardswish])
def test_gates_at_zero_have_the_slope_of_their_function(activation):
    x = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    with BalancedMode("a model"):
        balanced = torch.autograd.grad(activation(x).sum(), x)[0]
    (own,) = torch.autograd.grad(activation(x).sum(), x)
    torch.testing.assert_close(balanced, own)


def test_constants_are_counted_wherever_they_are_added():
    x, lines = X.clone().requires_grad_(), draw(8, 8, seed=4)
    weight = draw(4, 8, seed=5)
    mode = BalancedMode("a model")
    with mode:
        y = torch.add(F.linear(x + 1.5, lines, B), other=W, alpha=-1)
        y = torch.layer_norm(torch.cat(tensors=[y, 3 - Y[:1]]), (8,), W, B, 1e-5, False)
        score = (y * weight).sum()
    (gradient_,) = torch.autograd.grad(score, x)
    assert float(score.detach()) == pytest.approx(float((x.detach() * gradient_).sum()) + mode.biases(), rel=1e-12)
    assert mode.biases() == 0


def test_parameters_that_want_gradients_are_constants():
    model = with_biases(tiny_model(init_values=0.5))
    recording = explorer.record(model, photo())
    frozen = gradient.attribution(recording, 1)
    model.module.requires_grad_(True)
    free = gradient.attribution(recording, 1)
    np.testing.assert_array_equal(free.heatmap, frozen.heatmap)
    assert free.completeness == frozen.completeness
    assert all(parameter.grad is None for parameter in model.module.parameters())


def test_threads_and_inference_mode_make_no_difference():
    recording = explorer.record(tiny_model(), photo())
    expected = [gradient.attribution(recording, target).heatmap for target in range(4)]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda target: gradient.attribution(recording, target).heatmap, range(4)))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-7)
    with torch.inference_mode():
        np.testing.assert_array_equal(gradient.attribution(recording, 0).heatmap, expected[0])
        assert relevance.relevance(recording, 0).heatmap.max() > 0


def test_an_operation_without_a_rule_is_refused_by_name(monkeypatch):
    model = tiny_model()
    monkeypatch.setattr(type(blocks_of(model)[1].mlp), "forward", lambda self, x: self.fc2(torch.sin(self.fc1(x))))
    recording = explorer.record(model, photo())
    for compute in (gradient.attribution, relevance.relevance):
        with pytest.raises(UnsupportedModelError, match=r"tiny computes its score with sin, .* balanced=False"):
            compute(recording, 1)
    assert relevance.relevance(recording, 1, balanced=False).heatmap.max() > 0


def test_an_operation_that_the_score_does_not_need_is_let_through():
    model = wrap_transformers(create_transformers("vit", **SMALL), "vit")  # its pooler ends in tanh
    recording = explorer.record(model, photo(), 64)
    assert gradient.attribution(recording, similar_to=(1, 1)).heatmap.shape == (4, 4)


def test_an_account_says_how_far_it_is_from_the_score():
    assert Completeness(10.0, 6.0, 4.0).error == 0
    assert Completeness(10.0, 6.0, 4.02).error == pytest.approx(0.002)


def family(name: str) -> explorer.Model:
    """A small random model of a family of timm or transformers, with biases that aren't 0."""
    if name in ACCOUNTABLE:
        model = wrap_timm(small_timm(ACCOUNTABLE[name][0]), ACCOUNTABLE[name][0])
    else:
        torch.manual_seed(0)
        model = wrap_transformers(create_transformers(name, **TRANSFORMERS[name][0]), name)
    with torch.no_grad():
        sharpen(model.module)
    return with_biases(model)


@pytest.mark.parametrize("name", [*ACCOUNTABLE, *TRANSFORMERS])
def test_forward_bit_for_bit_and_accounts_that_close_in_every_family(name):
    model = family(name)
    size = small_size(model)
    pixels = model.preprocess(photo(), size)
    expected, logits = model.forward(pixels)
    with visible_attention(model.module), BalancedMode(name):
        tokens, again = model.forward(pixels.requires_grad_())
    assert torch.equal(tokens, expected) and (logits is None or again is None or torch.equal(again, logits))
    exact = replace(model, module=model.module.double())
    recording = explorer.record(exact, photo(), size)
    second = None if recording.logits is not None else explorer.record(exact, photo(seed=9), size)
    target = None if recording.logits is None else 1
    account = gradient.attribution(recording, target, second).completeness
    assert account.error < (1e-10 if target else 1e-6)  # a likeness is computed in float32
    assert account.biases != 0
    walked = relevance.relevance(recording, target, second).completeness
    assert walked is not None and walked.error <= 1e-3


def test_gradients_of_every_layer_match_the_model_written_out():
    model = with_biases(tiny_model(reg_tokens=2, init_values=0.5))
    made = run(double(model), pixels_of(model, photo()), balanced=True)
    parts = torch.autograd.grad(made.logits[3], made.streams[:-1])
    expected = np.stack([(x * g).sum(-1).detach().numpy() for x, g in zip(made.streams, parts, strict=False)])
    recording = explorer.record(model, photo())
    got = gradient.attribution(recording, 3)
    np.testing.assert_allclose(got.layers, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(got.heatmap.ravel(), expected.sum(0)[3:], atol=1e-4 * np.abs(expected).max())
    assert got.completeness.error <= 1e-3 and got.heatmap.min() < 0 < got.heatmap.max()
