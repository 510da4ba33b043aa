"""A small model whose blocks compute whatever attention a test wants."""

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn

from explorer.models.adapters import TimmAdapter
from explorer.models.backbone import Model
from tests.tiny import tiny_model


class SabotagedBlock(Block):
    """A block whose attention can be replaced by a test."""

    attend: Any = staticmethod(F.scaled_dot_product_attention)

    def forward(self, x, *args, **kwargs):
        batch, tokens, width = x.shape
        attention: Any = self.attn
        qkv = attention.qkv(self.norm1(x)).reshape(batch, tokens, 3, 4, width // 4).permute(2, 0, 3, 1, 4)
        out = self.attend(*qkv.unbind(0)).transpose(1, 2).reshape(batch, tokens, width)
        x = x + attention.proj(out)
        return x + self.mlp(self.norm2(x))


def sabotaged(attend) -> nn.Module:
    torch.manual_seed(0)
    module = VisionTransformer(
        img_size=64, patch_size=8, embed_dim=64, depth=3, num_heads=4, num_classes=0, dynamic_img_size=True,
        block_fn=SabotagedBlock,
    )  # fmt: skip
    for block in module.blocks:
        block.attend = attend
    return module


def wrap(module: nn.Module, **changes) -> Model:
    """A Model around a module of the tiny size."""
    return replace(tiny_model(), module=module.eval().requires_grad_(False), adapter=TimmAdapter(False), **changes)
