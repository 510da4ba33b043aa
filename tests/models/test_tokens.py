"""What enters layer 0, step by step, compared with what each library's own blocks receive."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from explorer.errors import ModelError, QueryError
from explorer.models.backbone import Model
from explorer.models.preprocess import to_pixels
from explorer.models.timm_models import create_timm, wrap_timm
from explorer.models.tokens import filters, make_tokens, position_kinds, projection
from explorer.models.transformers_models import create_transformers, wrap_transformers
from tests.tiny import photo, tiny_model

SMALL = {"num_hidden_layers": 1, "hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 64}
TIMM = {
    "cls": "vit_tiny_patch16_224",
    "registers": "vit_small_patch14_reg4_dinov2",
    "distilled": "deit_tiny_distilled_patch16_224",
    "positions without cls": "deit3_small_patch16_224",
    "rotary": "vit_small_patch16_dinov3",
    "rotary and added": "eva02_tiny_patch14_224",
    "relative": "beit_base_patch16_224",
    "relative without cls": "vit_relpos_small_patch16_224",
    "pooled by attention": "vit_base_patch16_siglip_224",
    "naflex": "naflexvit_base_patch16_gap",
}
HUGGING_FACE = (
    "vit",
    "dinov2",
    "dinov2_with_registers",
    "dinov3_vit",
    "siglip_vision_model",
    "vit_mae",
    "beit",
    "deit",
)
NONE_ADDED = {"rotary": ("rotary",), "relative": ("relative",), "relative without cls": ("relative",)}


@cache
def model_of(name: str) -> Model:
    torch.manual_seed(0)
    if name in TIMM:
        model = wrap_timm(create_timm(TIMM[name], depth=1, embed_dim=64, num_heads=4), "tiny")
    else:
        model = wrap_transformers(create_transformers(name, **SMALL), "tiny")
    with torch.no_grad():
        for key, parameter in model.module.named_parameters():
            if "pos" in key:  # some are zero until trained
                parameter.normal_(std=0.5)
    return model


def first_block(module: Any) -> nn.Module:
    """The first item of the first list of modules that hold attention."""
    return next(
        part[0]
        for part in module.modules()
        if isinstance(part, (nn.ModuleList, nn.Sequential))
        and len(part)
        and any("att" in name for name, _ in part[0].named_children())
    )


def first_block_input(model: Model, pixels: torch.Tensor) -> np.ndarray:
    seen: list[torch.Tensor] = []
    hook = first_block(model.module).register_forward_pre_hook(lambda block, args: seen.append(args[0]))
    with torch.no_grad():
        model.forward(pixels)
    hook.remove()
    assert len(seen) == 1
    return seen[0][0].numpy()


def image_for(model: Model):
    fixed = getattr(model.adapter, "fixed_size", None)
    return model.fit(photo(90, 64), min(fixed) if fixed else model.patch_size * 4, "crop" if fixed else "keep")


@pytest.mark.parametrize("name", [*TIMM, *HUGGING_FACE])
def test_tokens_are_what_the_first_block_receives(name: str):
    model = model_of(name)
    image = image_for(model)
    tokens = make_tokens(model, image)
    expected = first_block_input(model, to_pixels(image, model.mean, model.std))
    np.testing.assert_allclose(tokens.entering, expected, atol=1e-5)
    assert len(tokens.entering) == len(model.prefix_tokens) + tokens.grid[0] * tokens.grid[1]


@pytest.mark.parametrize("name", [*TIMM, *HUGGING_FACE])
def test_a_patch_vector_is_the_patch_times_the_kernel(name: str):
    model = model_of(name)
    image = image_for(model)
    tokens = make_tokens(model, image)
    kernel, bias = projection(model)
    side, (row, col) = model.patch_size, (1, 2)
    pixels = to_pixels(image, model.mean, model.std)[0]
    patch = pixels[:, row * side : (row + 1) * side, col * side : (col + 1) * side]
    by_hand = (kernel * patch).sum(dim=(1, 2, 3)) + (0 if bias is None else bias)
    np.testing.assert_allclose(tokens.vectors[tokens.index((row, col))], by_hand.detach().numpy(), atol=1e-4)
    assert tokens.norms[row, col] == pytest.approx(float(by_hand.norm()), rel=1e-4)


@pytest.mark.parametrize("name", [*TIMM, *HUGGING_FACE])
def test_vectors_and_positions_add_up_to_the_tokens(name: str):
    model = model_of(name)
    tokens = make_tokens(model, image_for(model))
    assert (tokens.positions is None) == (name in NONE_ADDED or name in ("dinov3_vit", "beit"))
    assert position_kinds(model) == NONE_ADDED.get(
        name, {"rotary and added": ("rotary",), "dinov3_vit": ("rotary",)}.get(name, ())
    )
    added = 0 if tokens.positions is None else tokens.positions
    np.testing.assert_allclose(tokens.entering[len(model.prefix_tokens) :], tokens.vectors + added, atol=1e-4)


def test_positions_at_the_trained_size_are_the_models_own_table():
    model = tiny_model()
    tokens = make_tokens(model, photo(64, 64))
    assert tokens.positions is not None
    np.testing.assert_allclose(tokens.positions, model.module.get_parameter("pos_embed")[0, 1:].numpy(), atol=1e-5)


def test_similarity_is_the_cosine_and_one_with_itself():
    tokens = make_tokens(tiny_model(), photo(96, 64))
    similarity = tokens.position_similarity((3, 4))
    positions = tokens.positions
    assert similarity is not None and positions is not None and similarity.shape == (8, 12)
    a, b = positions[3 * 12 + 4], positions[7 * 12 + 11]
    assert similarity[7, 11] == pytest.approx(float(a @ b / np.sqrt((a @ a) * (b @ b))), abs=1e-5)
    assert similarity[3, 4] == pytest.approx(1, abs=1e-5) and similarity.max() == similarity[3, 4]


def test_a_patch_outside_the_grid_is_named():
    tokens = make_tokens(tiny_model(), photo())
    with pytest.raises(QueryError, match="grid of 8 rows and 8 columns"):
        tokens.position_similarity((8, 0))


def test_an_addition_that_depends_on_the_pixels_is_no_position():
    model = tiny_model(pre_norm=False)
    module: Any = model.module
    plain = make_tokens(model, photo()).positions
    assert plain is not None
    module.pos_drop = nn.LayerNorm(64)  # stands for any step that is no addition
    assert make_tokens(replace(model, module=module), photo()).positions is None


def test_filters_are_the_principal_components_of_the_kernel():
    from sklearn.decomposition import PCA

    model = tiny_model()
    kernel = projection(model)[0].detach().numpy().reshape(64, -1)
    components: Any = PCA(5).fit(kernel).components_
    expected = components.reshape(5, 3, 8, 8).transpose(0, 2, 3, 1)
    pictures = filters(model, 5)
    for picture, component in zip(pictures, expected, strict=True):
        component = component * np.sign(component.sum())
        np.testing.assert_allclose(picture, (component - component.min()) / np.ptp(component), atol=1e-3)


def test_a_hybrid_has_no_filters_and_says_so():
    model = wrap_timm(create_timm("vit_tiny_r_s16_p8_224", depth=1), "hybrid")
    with pytest.raises(ModelError, match="convolutional network stands before its tokens"):
        filters(model)
    assert make_tokens(model, photo(64, 64).resize((64, 64))).grid == (2, 2)


def test_a_model_with_a_way_of_its_own_says_so():
    model = wrap_timm(create_timm("gemma4_vit_167m_enc", depth=1), "own")
    with pytest.raises(ModelError, match="in its own way"):
        make_tokens(model, model.fit(photo(), model.patch_size * 4))
