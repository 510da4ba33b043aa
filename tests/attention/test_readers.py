"""Relevance starts at the tokens that a score is read from: every pooling against whole matrices in float64."""

import copy
import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

import explorer
from explorer.attention.maps import gradient, legrad, occlusion, relevance
from explorer.attention.readers import groups_of
from explorer.errors import QueryError
from explorer.models.timm_models import create_timm, wrap_timm
from explorer.models.transformers_models import wrap_transformers
from tests.explicit import double, latent, pixels_of, run, with_biases
from tests.models.test_families import SMALL, sharpen
from tests.tiny import photo, tiny_model


class Explicit(TorchFunctionMode):
    """Attention over all tokens as plain softmax, every pattern kept."""

    def __init__(self, tokens: int):
        super().__init__()
        self.tokens, self.patterns = tokens, []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is not F.scaled_dot_product_attention or args[1].shape[-2] != self.tokens != args[0].shape[-2]:
            return func(*args, **kwargs)
        q, k, v = args[:3]
        mask = args[3] if len(args) > 3 else kwargs.get("attn_mask")
        scores = q @ k.mT * (kwargs.get("scale") or 1 / math.sqrt(q.shape[-1]))
        self.patterns.append((scores if mask is None else scores + mask).softmax(-1))
        return self.patterns[-1] @ v


def matrices(model: explorer.Model, start: torch.Tensor, target: int, size: int | None = None) -> np.ndarray:
    """(layer + 1, tokens): start @ R for walks from each start_layer on, by Chefer's own gradient."""
    exact = replace(model, module=copy.deepcopy(model.module).double())
    mode = Explicit(len(start))
    with mode, torch.enable_grad():
        _, logits = exact.forward(exact.preprocess(photo(), size).double().requires_grad_())
    assert logits is not None
    result, rows = start.double(), []
    patterns = mode.patterns[: model.depth]
    gradients = torch.autograd.grad(logits[0, target], patterns)
    for pattern, gradient_ in reversed(list(zip(patterns, gradients, strict=True))):
        result = result + result @ (pattern * gradient_)[0].clamp_min(0).mean(0)
        rows.append(result.detach().numpy())
    return np.stack(rows[::-1])


def start_at(count: int, *groups: range | list[int]) -> torch.Tensor:
    start = torch.zeros(count)
    for group in groups:
        start[list(group)] = 1 / (len(groups) * len(group))
    return start


def timm_model(arch: str, **settings: Any) -> explorer.Model:
    torch.manual_seed(0)
    narrow = {"img_size": 64, "patch_size": 8, "embed_dim": 64, "depth": 3, "num_heads": 4, "num_classes": 5}
    model = wrap_timm(create_timm(arch, **narrow, **settings), arch)
    return sharpened(model)


def sharpened(model: explorer.Model) -> explorer.Model:
    with torch.no_grad():
        sharpen(model.module)
        for name, parameter in model.module.named_parameters():
            if re.search(r"head|classifier|(cls|dist|reg|distillation)_token$", name):
                parameter.normal_(std=0.5)
    return model


def hugging_face(name: str, model_type: str) -> explorer.Model:
    import transformers

    torch.manual_seed(0)
    config = transformers.CONFIG_MAPPING[model_type](**{**SMALL, "patch_size": 8, "num_labels": 5})
    return sharpened(
        wrap_transformers(getattr(transformers, name)._from_config(config, attn_implementation="sdpa"), name)
    )


POOLINGS: dict[str, tuple[Any, Any]] = {
    "cls": (lambda: timm_model("vit_tiny_patch16_224"), lambda n: start_at(n, [0])),
    "mean without a cls token": (
        lambda: timm_model("vit_tiny_patch16_224", class_token=False, global_pool="avg"),
        lambda n: start_at(n, range(n)),
    ),
    "mean beside a cls token, norm after it": (
        lambda: timm_model("vit_tiny_patch16_224", global_pool="avg", fc_norm=True),
        lambda n: start_at(n, range(1, n)),
    ),
    "mean beside registers": (
        lambda: timm_model("vit_tiny_patch16_224", global_pool="avg", reg_tokens=2),
        lambda n: start_at(n, range(3, n)),
    ),
    "BEiT": (lambda: timm_model("beit_base_patch16_224"), lambda n: start_at(n, range(1, n))),
    "distilled DeiT": (lambda: timm_model("deit_tiny_distilled_patch16_224"), lambda n: start_at(n, [0], [1])),
    "transformers' DINOv2": (
        lambda: hugging_face("Dinov2ForImageClassification", "dinov2"),
        lambda n: start_at(n, [0], range(1, n)),
    ),
    "transformers' distilled DeiT": (
        lambda: hugging_face("DeiTForImageClassificationWithTeacher", "deit"),
        lambda n: start_at(n, [0], [1]),
    ),
    "transformers' BEiT": (
        lambda: hugging_face("BeitForImageClassification", "beit"),
        lambda n: start_at(n, range(1, n)),
    ),
    "transformers' SigLIP": (
        lambda: wrap_siglip(),
        lambda n: start_at(n, range(n)),
    ),
}


def wrap_siglip() -> explorer.Model:
    import transformers

    torch.manual_seed(0)
    settings: dict[str, Any] = {"vision_config": {**SMALL, "patch_size": 8}, "num_labels": 5}
    config = transformers.SiglipConfig(**settings)
    module = transformers.SiglipForImageClassification._from_config(config, attn_implementation="sdpa")
    return sharpened(wrap_transformers(module, "siglip"))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_relevance_starts_at_the_tokens_read(pooling):
    build, start = POOLINGS[pooling]
    model = build()
    recording = explorer.record(model, photo(), 64)
    expected = matrices(model, start(len(recording.tokens)), 2, 64)
    for start_layer in (0, model.depth - 1):
        got = relevance.relevance(recording, 2, balanced=False, start_layer=start_layer).tokens.numpy()
        right = expected[start_layer]
        np.testing.assert_allclose(got, right, rtol=1e-3, atol=1e-5 * right.max())
    assert got[len(recording.prefix_tokens) :].max() > 0


def test_attention_pooling_is_a_layer_of_the_walk():
    model = tiny_model(class_token=False, global_pool="map")
    recording = explorer.record(model, photo())
    module = double(model)
    made = run(module, pixels_of(model, photo()), balanced=False)
    pattern, pooled = latent(module.attn_pool, made.tokens, balanced=False)
    logit = module.head(module.fc_norm(pooled))[1]
    gradients = torch.autograd.grad(logit, [*made.patterns, pattern])
    expected = (pattern * gradients[-1]).clamp_min(0).mean(0)[0]
    for layer, part in reversed(list(zip(made.patterns, gradients[:-1], strict=True))):
        expected = expected + expected @ (layer * part).clamp_min(0).mean(0)
    got = relevance.relevance(recording, 1, balanced=False).heatmap.ravel()
    np.testing.assert_allclose(got, expected.detach().numpy(), rtol=1e-3, atol=1e-5 * expected.detach().max().item())


def test_attention_pooling_over_the_patches_alone():
    model = tiny_model(reg_tokens=2, class_token=False, global_pool="map", pool_include_prefix=False)
    recording = explorer.record(model, photo())
    last = relevance.relevance(recording, 1, start_layer=2).tokens
    assert last.shape == (66,) and last[2:].min() > 0
    assert occlusion.compute(recording, 1).shape == (8, 8)


def test_a_maximum_over_tokens_is_refused():
    recording = explorer.record(tiny_model(global_pool="max", class_token=False), photo())
    for compute in (relevance.relevance, occlusion.compute):
        with pytest.raises(QueryError, match="known here"):
            compute(recording, 1)
    assert gradient.attribution(recording, 1).completeness.error <= 1e-3
    assert legrad.compute(recording, 1).max() > 0


@pytest.mark.parametrize("balanced", [True, False])
@pytest.mark.parametrize("pool", ["token", "avg"])
def test_both_gradients_against_the_model_written_out(pool, balanced):
    model = with_biases(tiny_model(global_pool=pool, init_values=0.5))
    recording = explorer.record(model, photo())
    made = run(double(model), pixels_of(model, photo()), balanced)
    gradients = torch.autograd.grad(made.logits[4], made.patterns)
    expected = (start_at(65, [0]) if pool == "token" else start_at(65, range(1, 65))).double()
    for pattern, part in reversed(list(zip(made.patterns, gradients, strict=True))):
        expected = expected + expected @ (pattern * part).clamp_min(0).mean(0)
    got = relevance.relevance(recording, 4, balanced=balanced)
    np.testing.assert_allclose(got.tokens, expected.detach(), rtol=1e-3, atol=1e-5 * expected.detach().max().item())
    assert (got.completeness is not None) == balanced


def test_chefers_own_gradient_gives_what_relevance_gave():
    recording = explorer.record(tiny_model(), photo())
    for target in range(5):
        got = relevance.relevance(recording, target, balanced=False).heatmap
        np.testing.assert_array_equal(got, recording.relevance(target))
    second = explorer.record(recording.model, photo(seed=9))
    got = relevance.relevance(recording, similar_to=second, balanced=False).heatmap
    np.testing.assert_allclose(got, recording.relevance(similar_to=second), rtol=1e-5)


def test_why_the_one_and_not_the_other():
    recording = explorer.record(tiny_model(), photo())
    one, other = (gradient.attribution(recording, target).layers for target in (1, "shoe"))
    both = gradient.attribution(recording, (1, "shoe"))
    np.testing.assert_allclose(both.layers, one - other, atol=1e-5 * np.abs(one).max())
    assert recording.logits is not None
    assert both.completeness.score == pytest.approx(float(recording.logits[1] - recording.logits[3]), rel=1e-5)
    with pytest.raises(QueryError, match="Both are class 3"):
        gradient.attribution(recording, (3, "shoe"))
    with pytest.raises(QueryError, match="two classes, not 3"):
        gradient.attribution(recording, (1, 2, 3))  # pyright: ignore[reportArgumentType]


def test_groups_of_equal_gradients():
    rows = torch.tensor([[1.0, 2.0], [0, 0], [3, 1], [3, 1 + 1e-6], [3, 1]])
    assert [group.tolist() for group in groups_of(rows, 2)] == [[0], [2, 3, 4]]
    assert groups_of(rows, 1) == []
