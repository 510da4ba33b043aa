"""The recorder sees exactly what the model computes, or refuses; it leaves the model alone; threads don't mix."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from timm.layers.norm import RmsNorm
from timm.models.vision_transformer import Block, ResPostBlock, VisionTransformer
from torch import nn

import explorer
from explorer.attention.recorder import additive, fused_attention
from explorer.errors import RecordingError
from explorer.models.adapters import TimmAdapter
from tests.sabotage import sabotaged
from tests.tiny import photo, tiny_model


def wrap(module: nn.Module, **changes):
    """A Model around a module of the tiny size."""
    return replace(tiny_model(), module=module.eval().requires_grad_(False), adapter=TimmAdapter(False), **changes)


class Tampered(torch.Tensor):
    """A tensor whose attention comes out slightly wrong."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        out: Any = super().__torch_function__(func, types, args, kwargs)
        return out * 1.01 if func is F.scaled_dot_product_attention else out


def test_an_honest_block_is_recorded():
    assert explorer.record(wrap(sabotaged(F.scaled_dot_product_attention)), photo()).depth == 3


@pytest.mark.parametrize(
    "attend",
    [
        lambda q, k, v: F.scaled_dot_product_attention(q.as_subclass(Tampered), k, v).as_subclass(torch.Tensor),
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v.as_subclass(Tampered)).as_subclass(torch.Tensor),
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, dropout_p=0.5),
    ],
    ids=["q", "v", "dropout"],
)
def test_attention_that_is_not_softmax_of_qk_times_v_is_refused(attend):
    with pytest.raises(RecordingError, match="don't reproduce"):
        explorer.record(wrap(sabotaged(attend)), photo())


def test_nan_weights_are_refused():
    model = tiny_model()
    model.module.blocks[1].attn.qkv.weight[0, 0] = math.nan  # type: ignore[index, union-attr]
    with pytest.raises(RecordingError, match="don't reproduce"):
        explorer.record(model, photo())


def test_causal_attention_is_refused():
    with pytest.raises(RecordingError, match="causal"):
        explorer.record(
            wrap(sabotaged(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True))), photo()
        )


def test_attention_that_makes_no_call_is_refused():
    with pytest.raises(RecordingError, match="0 attention calls over its 65 tokens where 3 layers"):
        explorer.record(wrap(sabotaged(lambda q, k, v: (q @ k.transpose(-2, -1)).softmax(-1) @ v)), photo())


def test_attention_in_windows_is_refused_and_its_shapes_are_named():
    def windows(q, k, v):
        return F.scaled_dot_product_attention(*(t[:, :, 1:].reshape(4, 4, 16, 16) for t in (q, k, v))).reshape(
            1, 4, 64, 16
        )[:, :, [0, *range(64)]]

    with pytest.raises(RecordingError, match=r"other shapes: \[\(4, 4, 16, 16\)\]"):
        explorer.record(wrap(sabotaged(windows)), photo())


def test_a_model_that_refuses_a_size_gives_one_sentence():
    fixed = VisionTransformer(img_size=64, patch_size=8, embed_dim=64, depth=3, num_heads=4, num_classes=0)
    with pytest.raises(RecordingError, match=r"failed on 128x128 pixels .* try its own size, 64"):
        explorer.record(wrap(fixed), photo(), size=128)


@pytest.mark.parametrize("scale", [None, 0.5])
def test_scale_is_the_calls_own(scale):
    recording = explorer.record(
        wrap(sabotaged(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, scale=scale))), photo()
    )
    assert recording.scale(0) == (scale or 0.25)


def test_grouped_queries_have_a_key_for_every_head():
    def grouped(q, k, v):
        return F.scaled_dot_product_attention(q, k[:, :2], v[:, :2], enable_gqa=True)

    recording = explorer.record(wrap(sabotaged(grouped)), photo())
    assert recording.k(0).shape == recording.q(0).shape == (4, 65, 16)
    assert torch.equal(recording.k(0)[0], recording.k(0)[1])
    assert not torch.equal(recording.k(0)[1], recording.k(0)[2])


MASKS = {
    "float per head": torch.randn(1, 4, 65, 65, generator=torch.Generator().manual_seed(0)),
    "float shared": torch.randn(65, 65, generator=torch.Generator().manual_seed(1)),
    "float per key": torch.randn(1, 1, 1, 65, generator=torch.Generator().manual_seed(2)),
    "bool per key": torch.arange(65)[None, None, None] < 60,
    "bool all true": torch.ones(1, 1, 65, 65, dtype=torch.bool),
}


@pytest.mark.parametrize("kind", MASKS)
def test_masks_are_added_before_softmax(kind):
    mask, seen = MASKS[kind], []

    def masked(q, k, v):
        scores = q @ k.transpose(-2, -1) / 4
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
        seen.append(scores.softmax(dim=-1)[0])
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    recording = explorer.record(wrap(sabotaged(masked)), photo())
    assert (recording.bias(0) is None) == (kind == "bool all true")
    for head in range(4):
        np.testing.assert_allclose(recording.matrix(1, head), seen[1][head].numpy(), atol=1e-6)
    np.testing.assert_allclose(recording.matrix(1, "max"), seen[1].amax(0).numpy(), atol=1e-6)
    np.testing.assert_allclose(recording.rows(1, (2, 3)), seen[1][:, 1 + 2 * 8 + 3].numpy(), atol=1e-6)
    np.testing.assert_allclose(recording.rows(2, "mean"), seen[2][:, 1:].mean(1).numpy(), atol=1e-6)


def test_additive_says_none_for_a_mask_that_hides_nothing():
    assert additive(None, torch.float32) is None
    assert additive(torch.ones(3, 3, dtype=torch.bool), torch.float32) is None
    hidden = additive(torch.tensor([[True, False]]), torch.float32)
    assert hidden is not None and hidden.tolist() == [[[0.0, -math.inf]]]


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
    }


@pytest.mark.parametrize("fused", [True, False])
def test_the_model_is_left_as_it_was(fused):
    model = tiny_model()
    model.module.blocks[1].requires_grad_()  # type: ignore[union-attr]
    model.module.blocks[2].attn.fused_attn = fused  # type: ignore[union-attr]
    before = states(model)
    explorer.record(model, photo())
    after = states(model)
    weights = before.pop("weights")
    assert all(torch.equal(value, weights[key]) for key, value in after.pop("weights").items())
    assert before == after


def test_the_model_is_left_as_it_was_after_an_error():
    model = wrap(sabotaged(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True)))
    model.module.blocks[0].attn.fused_attn = False  # type: ignore[union-attr]
    with pytest.raises(RecordingError):
        explorer.record(model, photo())
    assert model.module.blocks[0].attn.fused_attn is False  # type: ignore[union-attr]


def test_a_recording_is_the_plain_forward_pass():
    model = tiny_model()
    recording = explorer.record(model, photo())
    with torch.no_grad():
        tokens = model.module.forward_features(model.preprocess(photo()))  # type: ignore[operator]
        logits = model.module.forward_head(tokens)  # type: ignore[operator]
    np.testing.assert_allclose(recording.tokens, tokens[0].numpy(), atol=1e-6)
    assert recording.logits is not None
    np.testing.assert_allclose(recording.logits, logits[0].numpy(), atol=1e-6)


def test_models_built_without_fused_attention_are_recorded_alike():
    model, slow = tiny_model(), tiny_model()
    for block in slow.module.blocks:  # type: ignore[union-attr]
        block.attn.fused_attn = False
    np.testing.assert_allclose(
        explorer.record(model, photo()).attention(2), explorer.record(slow, photo()).attention(2), atol=1e-6
    )


def test_overlapping_recordings_switch_fused_attention_off_only_at_the_end():
    module = tiny_model().module
    attention = module.blocks[0].attn  # type: ignore[union-attr]
    attention.fused_attn = False
    first, second = fused_attention(module), fused_attention(module)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert attention.fused_attn is True
    second.__exit__(None, None, None)
    assert attention.fused_attn is False


@pytest.mark.parametrize("fused", [True, False])
def test_threads_that_share_a_model_get_their_own_recordings(fused):
    model = tiny_model()
    for block in model.module.blocks:  # type: ignore[union-attr]
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
    assert all(block.attn.fused_attn is fused for block in model.module.blocks)  # type: ignore[union-attr]


def test_a_pass_in_another_thread_is_not_recorded():
    model = tiny_model()
    pixels = model.preprocess(photo(seed=1))

    def meanwhile(q, k, v):
        with ThreadPoolExecutor(1) as pool:
            pool.submit(model.module, pixels).result()
        return F.scaled_dot_product_attention(q, k, v)

    assert explorer.record(wrap(sabotaged(meanwhile)), photo()).depth == 3


# Norms of the residual stream, against hooks on the blocks.


class PostNormBlock(Block):
    """x = norm(x + attention(x)), as in the first Transformers."""

    def forward(self, x, *args, **kwargs):
        x = self.norm1(x + self.attn(x))
        return self.norm2(x + self.mlp(x))


class InPlaceBlock(Block):
    """A pre-norm block that adds to its input in place."""

    def forward(self, x, *args, **kwargs):
        x += self.attn(self.norm1(x))
        x += self.mlp(self.norm2(x))
        return x


class PlainNorm(nn.Module):
    """A norm that calls no norm function of torch."""

    def __init__(self, width, **_):
        super().__init__()

    def forward(self, x):
        return x / x.square().mean(-1, keepdim=True).sqrt()


def hooked_norms(model, picture):
    """The norms of every block's input and the last block's output, by hooks."""
    seen, blocks = [], model.module.blocks
    handles = [b.register_forward_pre_hook(lambda m, args: seen.append(args[0][0].norm(dim=-1))) for b in blocks]
    handles.append(blocks[-1].register_forward_hook(lambda m, args, out: seen.append(out[0].norm(dim=-1))))
    with torch.no_grad():
        model.forward(model.preprocess(picture))
    for handle in handles:
        handle.remove()
    return torch.stack(seen).numpy()


NORMS = {
    "layer norm": {},
    "rms norm": {"norm_layer": RmsNorm},
    "own norm": {"norm_layer": PlainNorm},
    "registers": {"reg_tokens": 2},
    "no final norm": {"final_norm": False},
    "norm after pooling": {"global_pool": "avg", "fc_norm": True},
    "norm before the blocks": {"pre_norm": True},
    "layer scale": {"init_values": 0.1},
    "q and k norms": {"qk_norm": True},
    "norms on the branches": {"block_fn": ResPostBlock},
    "in place": {"block_fn": InPlaceBlock},
}


@pytest.mark.parametrize("kind", NORMS)
def test_token_norms_are_those_of_the_residual_stream(kind):
    torch.manual_seed(0)
    module = VisionTransformer(
        img_size=64, patch_size=8, embed_dim=64, depth=3, num_heads=4, num_classes=5, dynamic_img_size=True,
        **NORMS[kind],
    )  # fmt: skip
    registers = ("reg1", "reg2") if kind == "registers" else ()
    model = wrap(module, prefix_tokens=("cls", *registers))
    recording = explorer.record(model, photo())
    expected = hooked_norms(model, photo())
    got = np.stack([recording.token_norms(layer) for layer in range(4)])
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    np.testing.assert_array_equal(recording.token_norms(-1), got[2])


def test_token_norms_of_post_norm_models_are_not_known():
    module = VisionTransformer(
        img_size=64, patch_size=8, embed_dim=64, depth=3, num_heads=4, num_classes=0, dynamic_img_size=True,
        block_fn=PostNormBlock,
    )  # fmt: skip
    with pytest.raises(explorer.errors.QueryError, match="aren't known"):
        explorer.record(wrap(module), photo()).token_norms(0)
