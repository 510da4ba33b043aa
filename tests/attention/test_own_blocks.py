"""Whether a recording is known to be what the model goes on with."""

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

import explorer
from explorer.attention.own_blocks import has_own_blocks
from explorer.models.transformers_models import create_transformers, wrap_transformers
from tests.models.test_families import SMALL
from tests.sabotage import sabotaged, wrap
from tests.tiny import blocks_of, photo, tiny_model


def verified(attend) -> bool:
    return explorer.record(wrap(sabotaged(attend)), photo()).verified


def test_blocks_of_timm_and_transformers_are_known():
    assert has_own_blocks(timm.create_model("vit_tiny_patch16_224", depth=1))
    assert has_own_blocks(create_transformers("dinov2", **SMALL))
    assert explorer.record(tiny_model(), photo()).verified


def test_a_block_of_another_origin_is_followed_into_its_projection():
    assert not has_own_blocks(sabotaged(F.scaled_dot_product_attention))
    assert verified(F.scaled_dot_product_attention)


def test_a_result_that_the_model_changes_or_ignores_is_not_verified():
    attend = F.scaled_dot_product_attention
    assert not verified(lambda q, k, v: attend(q, k, v) * 0 + v)
    assert not verified(lambda q, k, v: attend(q, k, v).flip(2))
    assert not verified(lambda q, k, v: attend(q, k, v).flip(1))
    assert not verified(lambda q, k, v: attend(q, k, v).mul_(2))
    assert not verified(lambda q, k, v: attend(q, k.roll(1, 2), v.roll(1, 2)))  # the result is right, the map isn't
    mix = torch.eye(4) + 0.1
    assert not verified(lambda q, k, v: torch.einsum("gh,bhtd->bgtd", mix, attend(q, k, v)))


def test_a_forward_pass_put_in_place_of_a_librarys_own_is_followed(monkeypatch):
    model = tiny_model()
    block = blocks_of(model)[1]
    plain = block.attn.forward
    monkeypatch.setattr(block.attn, "forward", lambda x, **others: plain(x, **others).flip(1))
    assert not has_own_blocks(model.module)
    other = tiny_model()
    kind = type(blocks_of(other)[0].attn)
    monkeypatch.setattr(kind, "forward", lambda self, x, **others: x)
    assert not has_own_blocks(other.module)


class Wilful(nn.Module):
    """A block's attention of somebody's own, which does something with what it projected."""

    def __init__(self, attention: Any, after: Callable[[torch.Tensor], torch.Tensor]):
        super().__init__()
        self.attention, self.after = attention, after

    def forward(self, x: torch.Tensor, **others: Any) -> torch.Tensor:
        return self.after(self.attention(x, **others))


@pytest.mark.parametrize(
    ("after", "known"),
    [
        (lambda x: x, True),
        (lambda x: x * torch.linspace(-1, 2, 64), True),  # a layer scale
        (lambda x: x.flip(1), False),
        (lambda x: x.flip(2), False),
        (lambda x: x * 0, False),
        (lambda x: x.mean(1, keepdim=True).expand_as(x).contiguous(), False),
        (lambda x: F.layer_norm(x, (64,)), False),
    ],
)
def test_what_is_done_behind_the_projection_is_followed_into_the_residual_stream(after, known):
    model = tiny_model()
    for block in blocks_of(model):
        block.attn = Wilful(block.attn, after)
    assert explorer.record(model, photo()).verified is known


class Rewired(nn.Module):
    """A block of somebody's own around timm's parts."""

    def __init__(self, block: Any, forward: Callable[[Any, torch.Tensor], torch.Tensor]):
        super().__init__()
        self.block, self.own = block, forward

    def forward(self, x: torch.Tensor, **others: Any) -> torch.Tensor:
        return self.own(self.block, x)


def plainly(block: Any, x: torch.Tensor) -> torch.Tensor:
    x = x + block.attn(block.norm1(x))
    return x + block.mlp(block.norm2(x))


def normed_behind(block: Any, x: torch.Tensor) -> torch.Tensor:
    x = x + block.attn(x)
    return x + block.mlp(block.norm2(x))


def asked_of_others(block: Any, x: torch.Tensor) -> torch.Tensor:
    x = x + block.attn(block.norm1(x.roll(1, 1)))
    return x + block.mlp(block.norm2(x))


def thrown_away(block: Any, x: torch.Tensor) -> torch.Tensor:
    plainly(block, x)
    return x + 0.1


def flipped_in_place(block: Any, x: torch.Tensor) -> torch.Tensor:
    x = x + block.attn(block.norm1(x))
    x.copy_(x.flip(1))
    return x + block.mlp(block.norm2(x))


def given_back_in_another_order(block: Any, x: torch.Tensor) -> torch.Tensor:
    x = plainly(block, x)
    x[:, 1:] = x[:, 1:].flip(1)
    return x


def with_an_attention_by_hand(block: Any, x: torch.Tensor) -> torch.Tensor:
    x = plainly(block, x)
    return x + (x @ x.mT).softmax(-1) @ x


def with_values_flipped_in_place(block: Any, x: torch.Tensor) -> torch.Tensor:
    q, k, v = block.attn.qkv(block.norm1(x)).unflatten(2, (3, 4, 16)).permute(2, 0, 3, 1, 4)
    v.copy_(v.flip(2))
    x = x + block.attn.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
    return x + block.mlp(block.norm2(x))


@pytest.mark.parametrize(
    ("forward", "known"),
    [
        (plainly, True),
        (normed_behind, True),
        (asked_of_others, False),
        (thrown_away, False),
        (flipped_in_place, False),
        (given_back_in_another_order, False),
        (with_an_attention_by_hand, False),
        (with_values_flipped_in_place, False),
    ],
)
@pytest.mark.parametrize("place", [0, 2])
def test_attention_is_asked_of_the_stream_and_goes_back_to_it(forward, known, place):
    model = tiny_model()
    blocks_of(model)[place] = Rewired(blocks_of(model)[place], forward)
    assert explorer.record(model, photo()).verified is known


def test_a_stream_that_is_reordered_between_blocks_is_not_verified():
    model = tiny_model()
    plain = blocks_of(model)[1]
    blocks_of(model)[1] = Wilful(plain, lambda x: x.flip(1))
    assert not explorer.record(model, photo()).verified


@pytest.mark.slow
def test_an_attention_function_that_somebody_registered_with_transformers_is_followed():
    from transformers import AttentionInterface

    def gated(module, query, key, value, attention_mask, scaling=None, **others):
        return F.scaled_dot_product_attention(query, key, value, scale=scaling).transpose(1, 2) * 0.5, None

    AttentionInterface.register("gated", gated)
    module: Any = create_transformers("vit", **SMALL)
    assert explorer.record(wrap_transformers(module, "vit"), photo()).verified
    module.set_attn_implementation("gated")
    assert not explorer.record(wrap_transformers(module, "vit"), photo()).verified


def test_a_hook_makes_a_librarys_block_one_of_somebodys_own():
    model = tiny_model()
    hook = blocks_of(model)[0].attn.register_forward_hook(lambda module, taken, out: out.flip(1))
    assert not explorer.record(model, photo()).verified
    hook.remove()
    assert explorer.record(model, photo()).verified
