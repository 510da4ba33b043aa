"""Chefer's relevance, LeGrad, Grad-CAM and occlusion in families of timm, against the library's own unfused code."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import explorer
from explorer.models.timm_models import wrap_timm
from tests.explicit import with_biases
from tests.models.test_families import sharpen, small_size, small_timm
from tests.tiny import blocks_of, photo

pytestmark = pytest.mark.slow

ARCHITECTURES = [
    "deit_tiny_distilled_patch16_224", "eva02_small_patch14_336", "vit_small_patch16_rope_mixed_224",
    "beit_base_patch16_224", "vit_relpos_base_patch16_rpn_224", "vit_relpos_base_patch16_cls_224",
    "naflexvit_base_patch16_gap",
]  # fmt: skip
TARGET = 3


@dataclass
class Seen:
    """What hooks saw of one pass."""

    patterns: list[Tensor] = field(default_factory=list)  # "1 head query key" of each layer
    read: list[Tensor] = field(default_factory=list)  # "1 token width": what each layer's attention reads
    leaving: list[Tensor] = field(default_factory=list)  # "1 token width": what each block gives


@contextmanager
def unfused(model: explorer.Model) -> Iterator[Seen]:
    """timm's attention written out, with hooks on it."""
    seen = Seen()
    drops = [part for name, part in model.module.named_modules() if re.search(r"blocks\..*attn_drop$", name)]
    handles = [part.register_forward_hook(lambda m, args, out: seen.patterns.append(out)) for part in drops]
    for block in blocks_of(model):
        handles.append(block.attn.register_forward_pre_hook(lambda m, args: seen.read.append(args[0])))
        handles.append(block.register_forward_hook(lambda m, args, out: seen.leaving.append(out)))
    switches: list[Any] = [part for part in model.module.modules() if hasattr(part, "fused_attn")]
    for part in switches:
        part.fused_attn = False
    try:
        yield seen
    finally:
        for part in switches:
            part.fused_attn = True
        for handle in handles:
            handle.remove()


@pytest.fixture(params=ARCHITECTURES, scope="module")
def model(request) -> explorer.Model:
    made = with_biases(wrap_timm(small_timm(request.param), request.param))
    sharpen(made.module)
    return made


@pytest.fixture(scope="module")
def recording(model) -> explorer.Recording:
    return explorer.record(model, photo(96, 64), small_size(model), fit="crop")


def readers(model: explorer.Model, tokens: int) -> Tensor:
    """Which tokens the classifier reads, with what weight."""
    module: Any = model.module
    weights = torch.zeros(tokens, dtype=torch.float64)
    if module.global_pool == "avg":
        weights[len(model.prefix_tokens) :] = 1 / (tokens - len(model.prefix_tokens))
    else:
        read = [model.prefix_tokens.index(name) for name in ("cls", "dist") if name in model.prefix_tokens]
        weights[read] = 1 / len(read)
    return weights


def test_maps_equal_those_of_unfused_code(model, recording):
    module: Any = model.module
    pixels = model.pixels(recording.image).requires_grad_()
    with unfused(model) as seen, torch.enable_grad():
        logits = module(pixels)
        scores = [module.forward_head(module.norm(x))[0, TARGET] for x in seen.leaving]
    row = readers(model, len(recording.tokens))
    gradients = torch.autograd.grad(logits[0, TARGET], seen.patterns, retain_graph=True)
    for pattern, gradient in zip(reversed(seen.patterns), reversed(gradients), strict=True):
        row = row + row @ (pattern * gradient)[0].double().clamp_min(0).mean(0)
    legrad = torch.zeros(len(recording.tokens))
    for pattern, score in zip(seen.patterns, scores, strict=True):
        (gradient,) = torch.autograd.grad(score, pattern, retain_graph=True)
        legrad += gradient[0].clamp_min(0).mean((0, 1)) / len(scores)
    prefix = len(model.prefix_tokens)
    assert close(recording.relevance(TARGET), row[prefix:])
    assert close(recording.map("legrad", target=TARGET), legrad[prefix:])
    for layer, tokens in enumerate(seen.read):
        (gradient,) = torch.autograd.grad(logits[0, TARGET], tokens, retain_graph=True)
        cam = (tokens[0] @ gradient[0, prefix:].mean(0)).clamp_min(0)
        assert close(recording.map("gradcam", target=TARGET, layer=layer), cam[prefix:])


def test_occlusion_hides_a_patch_from_unfused_code(model, recording):
    """A patch whose score is minus infinity for every query, and which no mean counts."""
    module: Any = model.module
    prefix, patch = len(model.prefix_tokens), 8
    got = recording.map("occlusion", target=TARGET).ravel()
    softmax = torch.Tensor.softmax

    def hidden(scores: Tensor, dim: int) -> Tensor:
        if scores.ndim == 4 and scores.shape[-1] == len(recording.tokens):
            scores = scores.clone()
            scores[..., prefix + patch] = -torch.inf
        return softmax(scores, dim)

    with unfused(model) as seen, torch.no_grad(), pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch.Tensor, "softmax", hidden)
        logits = module(model.pixels(recording.image))
        if module.global_pool == "avg":
            stay = [token for token in range(len(recording.tokens)) if token != prefix + patch]
            logits = module.forward_head(module.norm(seen.leaving[-1])[:, stay])
    assert not any(pattern[..., prefix + patch].any() for pattern in seen.patterns)
    expected = float(recording.logits[TARGET] - logits[0, TARGET])
    assert got[patch] == pytest.approx(expected, rel=1e-3, abs=1e-5)


def close(got: np.ndarray, expected: Tensor) -> bool:
    """Equal to 1e-4 of the largest, which isn't 0."""
    wanted = expected.detach().double().numpy()
    return bool(np.abs(wanted).max() > 0 and np.abs(got.ravel() - wanted).max() <= 1e-4 * np.abs(wanted).max())
