"""Prefix tokens and grid are found in each model and checked against what it computes."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import explorer
from explorer.errors import ImageError, ModelError, UnsupportedModelError
from explorer.models.timm_models import create_timm, wrap_timm
from explorer.models.token_layout import check_tokens, patch_side, prefix_tokens
from tests.tiny import photo, tiny_model


class Embeddings(nn.Module):
    def __init__(self, **shapes: tuple[int, ...]):
        super().__init__()
        for name, shape in shapes.items():
            setattr(self, name, nn.Parameter(torch.zeros(shape)))


@pytest.mark.parametrize(
    "shapes, names",
    [
        ({}, ()),
        ({"cls_token": (1, 1, 8)}, ("cls",)),
        ({"class_embedding": (8,)}, ("cls",)),
        ({"cls_token": (1, 1, 8), "dist_token": (1, 1, 8)}, ("cls", "dist")),
        ({"cls_token": (1, 1, 8), "distillation_token": (1, 1, 8)}, ("cls", "dist")),
        ({"reg_token": (1, 2, 8), "cls_token": (1, 1, 8)}, ("cls", "reg1", "reg2")),
        ({"register_tokens": (1, 2, 8)}, ("reg1", "reg2")),
        ({"cls_token": (1, 3, 8)}, ("cls", "cls2", "cls3")),
    ],
)
def test_names_come_from_parameters(shapes, names):
    assert prefix_tokens(Embeddings(**shapes)) == names
    assert prefix_tokens(Embeddings(**shapes), len(names)) == names


def test_unknown_prefix_tokens_are_asked_for():
    with pytest.raises(ModelError, match=r"2 tokens before its patches, but 1 known \(cls\): name all 2"):
        prefix_tokens(Embeddings(cls_token=(1, 1, 8)), 2)


def test_tokens_must_add_up():
    check_tokens(1 + 4 * 6, ("cls",), (4, 6))
    with pytest.raises(ModelError, match=r"26 tokens for 4 x 6 patches, with 2 before them, but 1 known"):
        check_tokens(26, ("cls",), (4, 6))
    with pytest.raises(ModelError, match="aren't one token each"):
        check_tokens(7, ("cls",), (4, 6))


def test_a_wrong_layout_is_an_error_at_the_first_forward_pass():
    model = replace(tiny_model(), prefix_tokens=())
    with pytest.raises(ModelError, match=r"with 1 before them, but none known: name all 1 with prefix_tokens="):
        model.forward(model.preprocess(photo()))


def test_patches_are_square():
    assert patch_side(16) == 16
    assert patch_side((14, 14)) == 14
    with pytest.raises(UnsupportedModelError, match="aren't square"):
        patch_side((16, 8))


@pytest.mark.parametrize("size", [(32, 64), (64, 32), (48, 48), (128, 16)])
def test_oblong_grids(size):
    model = tiny_model(patch_size=8)
    tokens, _ = model.forward(torch.randn(1, 3, *size))
    rows, cols = model.grid(*size)
    assert (rows, cols) == (size[0] // 8, size[1] // 8)
    assert tokens.shape[1] == 1 + rows * cols


def test_given_names_are_used():
    module = create_timm("vit_tiny_patch16_224", depth=1, embed_dim=64, num_heads=1)
    assert wrap_timm(module, "x", prefix_tokens=("summary",)).prefix_tokens == ("summary",)


def test_a_model_of_one_size_says_which():
    module = create_timm("beit_base_patch16_224", depth=1, embed_dim=64, num_heads=1)
    model = wrap_timm(module, "x")
    assert explorer.record(model, photo()).grid == (14, 14)
    with pytest.raises(ImageError, match="takes only 224x224 pixels, not 96x96: choose size 224"):
        explorer.record(model, photo(), size=96)
