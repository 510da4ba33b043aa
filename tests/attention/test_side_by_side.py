"""Blocks with several attentions side by side: one layer with all their heads."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import explorer
from explorer.attention.interventions.edits import SetHead
from explorer.errors import QueryError
from explorer.models.timm_models import create_timm, wrap_timm
from tests.tiny import photo


@pytest.fixture(scope="module")
def recording():
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "img_size": 64,
        "patch_size": 8,
        "embed_dim": 64,
        "depth": 2,
        "num_heads": 4,
        "num_classes": 3,
    }
    module = create_timm("vit_small_patch16_18x2_224", **settings)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "qkv.weight" in name:
                parameter.mul_(8)
    return explorer.record(wrap_timm(module, "parallel"), photo(), size=64)


def test_a_layer_has_the_heads_of_all_and_the_model_says_so(recording):
    model = recording.model
    assert (model.depth, model.num_heads, model.parallel, recording.verified) == (2, 8, 2, True)
    assert any("2 attentions side by side" in note for note in model.notes)
    norms = np.stack([recording.token_norms(layer) for layer in range(3)])
    assert norms.shape == (3, 65) and np.isfinite(norms).all()


def test_a_rollout_takes_the_mean_over_all_heads(recording):
    product = np.eye(65)
    for layer in range(2):
        mean = np.mean([recording.matrix(layer, head) for head in range(8)], axis=0, dtype=np.float64)
        product = (0.5 * mean + 0.5 * np.eye(65)) @ product
    np.testing.assert_allclose(recording.rollout().ravel(), product[0, 1:], atol=1e-6)


@pytest.mark.parametrize(
    "ask",
    [
        lambda rec: rec.relevance(),
        lambda rec: rec.map("gradient"),
        lambda rec: rec.map("legrad"),
        lambda rec: rec.map("gradcam"),
        lambda rec: rec.ledger(),
        lambda rec: rec.lens(),
        lambda rec: rec.step(0),
        lambda rec: rec.what_if([SetHead(0, 5)]),
        lambda rec: rec.measure_heads(),
    ],
)
def test_what_has_no_formula_for_them_is_refused(recording, ask: Callable[[explorer.Recording], object]):
    with pytest.raises(QueryError, match="side by side"):
        ask(recording)


def test_the_kinds_on_offer_are_those_that_can_be_had(recording):
    assert recording.maps == ("attention", "rollout", "integrated_gradients", "occlusion")
    for kind in recording.maps:
        few = {"steps": 2} if kind == "integrated_gradients" else {}
        assert recording.map_with_note(kind, **few)[0].shape == recording.grid


def test_occlusion_takes_a_patch_out_of_all_of_them(recording):
    """timm's own blocks over the tokens that stay."""
    module: Any = recording.model.module
    got = recording.map("occlusion", target=1)
    for patch in (0, 27, 63):
        stay = [0, *(token for token in range(1, 65) if token != patch + 1)]
        with torch.no_grad():
            tokens = module._pos_embed(module.patch_embed(recording.model.pixels(recording.image)))[:, stay]
            logits = module.forward_head(module.norm(module.blocks(tokens)))
        assert got.ravel()[patch] == pytest.approx(float(recording.logits[1] - logits[0, 1]), abs=1e-5)
    assert got.min() < 0 < got.max()
