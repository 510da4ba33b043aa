"""The recorder sees exactly what the model computes, or refuses."""

import gc
import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import nn

import explorer
from explorer.attention import recorder
from explorer.attention.sdpa import additive
from explorer.errors import RecordingError
from tests.sabotage import sabotaged, wrap
from tests.tiny import blocks_of, photo, tiny_model


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


class OneHeadTampered(torch.Tensor):
    """A tensor whose attention is wrong in head 3 alone."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        out: Any = super().__torch_function__(func, types, args, kwargs)
        if func is F.scaled_dot_product_attention:
            out[:, 3] = out[:, 3].flip(1)
        return out


def test_a_head_whose_values_are_small_is_checked_like_the_others():
    small = torch.tensor([1, 1, 1, 1e-5]).view(4, 1, 1)

    def attend(q, k, v):
        return F.scaled_dot_product_attention(q.as_subclass(OneHeadTampered), k, v * small).as_subclass(torch.Tensor)

    with pytest.raises(RecordingError, match="don't reproduce"):
        explorer.record(wrap(sabotaged(attend)), photo())


def test_nan_weights_are_refused():
    model = tiny_model()
    blocks_of(model)[1].attn.qkv.weight[0, 0] = math.nan
    with pytest.raises(RecordingError, match="don't reproduce"):
        explorer.record(model, photo())


def test_causal_attention_is_refused():
    with pytest.raises(RecordingError, match="causal"):
        explorer.record(
            wrap(sabotaged(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True))), photo()
        )


def test_attention_that_makes_no_call_is_refused():
    with pytest.raises(RecordingError, match="0 attention calls over its 65 tokens where 3 were expected"):
        explorer.record(wrap(sabotaged(lambda q, k, v: (q @ k.transpose(-2, -1)).softmax(-1) @ v)), photo())


def test_attention_in_windows_is_refused_and_its_shapes_are_named():
    def windows(q, k, v):
        return F.scaled_dot_product_attention(*(t[:, :, 1:].reshape(4, 4, 16, 16) for t in (q, k, v))).reshape(
            1, 4, 64, 16
        )[:, :, [0, *range(64)]]

    with pytest.raises(RecordingError, match="images x heads x queries x keys: 4x4x16x16"):
        explorer.record(wrap(sabotaged(windows)), photo())


def to_other_tokens(q, k, v):
    return F.scaled_dot_product_attention(q, k[:, :, :9], v[:, :, :9])


def twice(q, k, v):
    return F.scaled_dot_product_attention(q, k, F.scaled_dot_product_attention(q, k, v))


def several_images(q, k, v):
    return F.scaled_dot_product_attention(*(t.expand(2, -1, -1, -1) for t in (q, k, v)))[:1]


def without_batch(q, k, v):
    return F.scaled_dot_product_attention(q[0], k[0], v[0])[None]


def inside_multi_head_attention(q, k, v):
    x = v.transpose(1, 2).flatten(2)
    out = nn.MultiheadAttention(64, 4, batch_first=True).eval()(x, x, x, need_weights=False)[0]
    return out.unflatten(2, (4, 16)).transpose(1, 2)


@pytest.mark.parametrize(
    "attend,words",
    [
        (to_other_tokens, "0 attention calls .* keys: 1x4x65x9"),
        (twice, "6 attention calls over its 65 tokens where 3 were expected"),
        (several_images, "0 attention calls .* keys: 2x4x65x65"),
        (without_batch, "0 attention calls .* keys: 4x65x65"),
        (inside_multi_head_attention, "0 attention calls"),
    ],
)
def test_other_attention_is_refused(attend, words):
    with pytest.raises(RecordingError, match=words):
        explorer.record(wrap(sabotaged(attend)), photo())


def test_a_model_in_training_mode_is_refused():
    model = tiny_model(proj_drop_rate=0.5)
    model.module.train()
    with pytest.raises(RecordingError, match=r"call model\.module\.eval\(\) first"):
        explorer.record(model, photo())


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


@pytest.mark.parametrize("shared", ["q", "k and v"])
def test_one_head_shared_by_all_is_repeated(shared):
    def attend(q, k, v):
        return F.scaled_dot_product_attention(*((q[:, :1], k, v) if shared == "q" else (q, k[:, :1], v[:, :1])))

    recording = explorer.record(wrap(sabotaged(attend)), photo())
    assert recording.q(0).shape == recording.k(0).shape == (4, 65, 16)
    alike = recording.q(0) if shared == "q" else recording.k(0)
    assert torch.equal(alike[0], alike[3])


def plain_patterns(seen, bias: torch.Tensor | int = 0):
    """Attention that notes its own patterns, "head query key", and whose tensors are written to afterwards."""

    def attend(q, k, v):
        q, k = q.contiguous(), k.contiguous()
        seen.append((q @ k.transpose(-2, -1) / 4 + bias).softmax(dim=-1)[0])
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias if torch.is_tensor(bias) else None)
        q.zero_()
        k.mul_(2)
        return out

    return attend


def test_a_recording_is_a_copy_which_the_model_can_not_write_to():
    seen: list[torch.Tensor] = []
    recording = explorer.record(wrap(sabotaged(plain_patterns(seen))), photo())
    for layer in range(3):
        np.testing.assert_allclose(recording.matrix(layer, 2), seen[layer][2], atol=1e-6)


def test_recordings_that_live_share_no_memory_and_one_that_is_gone_leaves_its_own():
    model = tiny_model()
    first = explorer.record(model, photo())
    kept, place = [first.matrix(layer) for layer in range(3)], first.call(0).q.data_ptr()
    row = first.q(0).numpy()
    numbers = row.copy()
    second = explorer.record(model, photo(seed=1))
    for layer in range(3):
        assert np.array_equal(first.matrix(layer), kept[layer])
    del first
    third = explorer.record(model, photo(seed=2))
    assert np.array_equal(row, numbers), "an array of a recording that is gone"
    del row
    gc.collect()
    fourth = explorer.record(model, photo(seed=3))
    assert fourth.call(0).q.data_ptr() == place
    places = [r.call(layer).q.data_ptr() for r in (second, third, fourth) for layer in range(3)]
    assert len(set(places)) == 9


def left_by_a_recording() -> int:
    """Bytes of NumPy's memory that one recording of the tiny model leaves when it is gone."""
    model, image = tiny_model(), photo()
    tracemalloc.start()
    explorer.record(model, image)
    gc.collect()
    left = tracemalloc.take_snapshot().filter_traces([tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)])
    tracemalloc.stop()
    return sum(trace.size for trace in left.traces)


@pytest.mark.slow
def test_the_memory_of_a_large_recording_goes_back_to_the_system(monkeypatch):
    size = 3 * 2 * 65 * 64 * 4  # q and k of three layers
    monkeypatch.setattr(recorder, "SPARE", size - 1)
    assert left_by_a_recording() < size
    monkeypatch.setattr(recorder, "SPARE", size)
    assert left_by_a_recording() >= size


def test_a_bias_that_each_layer_writes_anew_is_every_layers_own():
    seen: list[torch.Tensor] = []
    bias = torch.zeros(65, 65)
    attend = plain_patterns(seen, bias)

    def refilled(q, k, v):
        bias.copy_(torch.randn(65, 65, generator=torch.Generator().manual_seed(len(seen))))
        return attend(q, k, v)

    recording = explorer.record(wrap(sabotaged(refilled)), photo())
    for layer in range(3):
        np.testing.assert_allclose(recording.matrix(layer, 2), seen[layer][2], atol=1e-6)


def test_a_bias_expanded_over_heads_and_queries_is_kept_once():
    narrow = torch.randn(1, 1, 1, 65)

    def attend(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=narrow.expand(1, 4, 65, 65))

    bias = explorer.record(wrap(sabotaged(attend)), photo()).bias(1)
    assert bias is not None and torch.equal(bias, narrow[0])


def test_a_mask_that_hides_all_tokens_from_one_is_refused():
    mask = torch.ones(65, 65, dtype=torch.bool)
    mask[5] = False
    with pytest.raises(RecordingError, match="hides all tokens from some"):
        explorer.record(
            wrap(sabotaged(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=mask))), photo()
        )


def test_numbers_too_large_for_half_precision_are_refused_only_where_it_is_needed():
    model = wrap(sabotaged(lambda q, k, v: F.scaled_dot_product_attention(q * 1e6, k, v, scale=1e-6)))
    assert explorer.record(model, photo()).precision == "float32"
    for budget in (1, 2 * 2 * 4 * 65 * 64):  # passed by the first layer, and by the third
        with pytest.raises(RecordingError, match="too large for float16"):
            explorer.record(model, photo(), byte_budget=budget)


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
