"""Norms of the residual stream, against hooks on the blocks."""

import numpy as np
import pytest
import torch
from timm.layers.norm import RmsNorm
from timm.models.vision_transformer import Block, ResPostBlock, VisionTransformer
from torch import nn

import explorer
from explorer.errors import QueryError
from tests.sabotage import wrap
from tests.tiny import photo


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
    with pytest.raises(QueryError, match="aren't known"):
        explorer.record(wrap(module), photo()).token_norms(0)
