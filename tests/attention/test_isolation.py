"""Recording leaves the model alone, threads don't mix, and what the caller has switched on changes no map."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.overrides import BaseTorchFunctionMode, _get_current_function_mode_stack

import explorer
from explorer.attention.evidence import evidence
from explorer.errors import RecordingError
from tests.sabotage import sabotaged, wrap
from tests.tiny import blocks_of, photo, tiny_model


def states(model):
    return {
        "weights": {key: value.clone() for key, value in model.module.state_dict().items()},
        "hooks": [
            len(part._forward_hooks) + len(part._forward_pre_hooks) + len(part._backward_hooks)
            for part in model.module.modules()
        ],
        "attributes": [sorted(vars(part)) for part in model.module.modules()],
        "fused": [getattr(part, "fused_attn", None) for part in model.module.modules()],
        "training": [part.training for part in model.module.modules()],
        "gradients": [(p.requires_grad, p.grad) for p in model.module.parameters()],
        "random": torch.get_rng_state().tolist(),
        "modes": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), len(_get_current_function_mode_stack())),
    }


@pytest.mark.parametrize("fused", [True, False])
def test_the_model_is_left_as_it_was(fused):
    model = tiny_model()
    blocks_of(model)[1].requires_grad_()
    blocks_of(model)[2].attn.fused_attn = fused
    before = states(model)
    explorer.record(model, photo())
    after = states(model)
    weights = before.pop("weights")
    assert all(torch.equal(value, weights[key]) for key, value in after.pop("weights").items())
    assert before == after


def test_the_model_is_left_as_it_was_after_an_error():
    model = wrap(sabotaged(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True)))
    blocks_of(model)[0].attn.fused_attn = False
    with pytest.raises(RecordingError):
        explorer.record(model, photo())
    assert blocks_of(model)[0].attn.fused_attn is False


def test_a_recording_is_the_plain_forward_pass():
    model = tiny_model()
    module: Any = model.module
    recording = explorer.record(model, photo())
    with torch.no_grad():
        tokens = module.forward_features(model.preprocess(photo()))
        logits = module(model.preprocess(photo()))
    np.testing.assert_array_equal(recording.tokens, tokens[0].numpy())
    assert recording.logits is not None
    np.testing.assert_array_equal(recording.logits, logits[0].numpy())


SURROUNDINGS = {
    "autocast bfloat16": lambda: torch.autocast("cpu", torch.bfloat16),
    "autocast float16": lambda: torch.autocast("cpu", torch.float16),
    "inference mode": torch.inference_mode,
    "gradients": torch.enable_grad,
    "default device": lambda: torch.device("meta"),
    "another mode": BaseTorchFunctionMode,
}


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_a_recording_and_its_maps_do_not_depend_on_where_they_are_made(name):
    model = tiny_model()
    with SURROUNDINGS[name]():
        recording = explorer.record(model, photo())
        inside = answers(recording)
    expected = answers(recording if name.startswith("autocast") else explorer.record(model, photo()))
    for got, want in zip(inside, expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)


def answers(recording) -> list[np.ndarray]:
    return [
        recording.tokens,
        recording.attention(1, "max", (2, 3)),
        recording.attention(1, 2, "mean"),
        recording.matrix(2, 1),
        recording.matrix(2, "mean", "scores"),
        recording.rollout(discard_ratio=0.5),
        recording.rollout((1, 1)),
        recording.mass_mask(2),
    ]


def test_a_default_precision_is_for_other_tensors():
    model = tiny_model()
    recording = explorer.record(model, photo())
    expected = [*answers(recording), recording.relevance(1)]
    torch.set_default_dtype(torch.float64)
    try:
        recording = explorer.record(model, photo())
        got = [*answers(recording), recording.relevance(1)]
    finally:
        torch.set_default_dtype(torch.float32)
    for one, other in zip(got, expected, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("dtype,tolerance", [(torch.float64, 1e-6), (torch.float16, 2e-3), (torch.bfloat16, 2e-2)])
def test_models_in_other_precisions_are_recorded(dtype, tolerance):
    model, other = tiny_model(), tiny_model()
    other.module.to(dtype)
    recording = explorer.record(other, photo())
    expected = explorer.record(model, photo())
    assert recording.q(0).dtype == torch.float32 and recording.tokens.dtype == np.float32
    np.testing.assert_allclose(recording.attention(1), expected.attention(1), atol=tolerance)
    np.testing.assert_allclose(recording.relevance(1), expected.relevance(1), atol=tolerance)
    curve, other_curve = (evidence(each, expected.attention(1), steps=4).curves[0] for each in (expected, recording))
    np.testing.assert_allclose(other_curve.probabilities, curve.probabilities, atol=5 * tolerance)


@pytest.mark.parametrize("fused", [True, False])
def test_threads_that_share_a_model_get_their_own_recordings(fused):
    model = tiny_model()
    for block in blocks_of(model):
        block.attn.fused_attn = fused
    pictures = [photo(seed=seed) for seed in range(6)]
    serial = [explorer.record(model, picture) for picture in pictures]
    barrier = Barrier(len(pictures))

    def work(picture):
        barrier.wait()
        return [explorer.record(model, picture) for _ in range(5)]

    with ThreadPoolExecutor(len(pictures)) as pool:
        threaded = list(pool.map(work, pictures))
    for expected, recordings in zip(serial, threaded, strict=True):
        for got in recordings:
            for layer in range(3):
                assert torch.equal(got.q(layer), expected.q(layer)) and torch.equal(got.k(layer), expected.k(layer))
            np.testing.assert_array_equal(got.tokens, expected.tokens)
            np.testing.assert_array_equal(got.token_norms(3), expected.token_norms(3))
    assert all(block.attn.fused_attn is fused for block in blocks_of(model))


def test_a_pass_in_another_thread_is_not_recorded():
    model = tiny_model()
    pixels = model.preprocess(photo(seed=1))

    def meanwhile(q, k, v):
        with ThreadPoolExecutor(1) as pool:
            pool.submit(model.module, pixels).result()
        return F.scaled_dot_product_attention(q, k, v)

    assert explorer.record(wrap(sabotaged(meanwhile)), photo()).depth == 3
