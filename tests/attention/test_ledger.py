"""The ledger: every share against the model written out in float64, and sums that give the logit in every family."""

from typing import Any

import numpy as np
import pytest
import torch

import explorer
from explorer.attention.ledger import Ledger, ledger
from explorer.attention.maps.table import MAP_KINDS
from explorer.errors import QueryError, UnsupportedModelError
from explorer.models.timm_models import wrap_timm
from explorer.models.transformers_models import create_transformers, wrap_transformers
from tests.explicit import double, pixels_of, run, with_biases
from tests.models.test_families import ACCOUNTABLE, SMALL, TRANSFORMERS, sharpen, small_size, small_timm
from tests.tiny import blocks_of, photo, tiny_model


def shares(model: explorer.Model, target: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What heads "layer head token", MLPs "layer" and embeddings "token" add to a logit, product by product."""
    module = double(model)
    made = run(module, pixels_of(model, photo()), balanced=True)
    (g,) = torch.autograd.grad(made.logits[target], made.streams[-1])
    heads = []
    for block, pattern, values in zip(module.blocks, made.patterns, made.values, strict=True):
        out = block.attn.proj.weight.unflatten(1, (values.shape[0], -1))  # "width head dim"
        gamma = getattr(block.ls1, "gamma", torch.ones(1))
        written = torch.einsum("htd,whd->htw", values, out) * gamma  # what a token's value writes, through its head
        heads.append(torch.einsum("hrt,htw,rw->ht", pattern, written, g))
    mlps = torch.stack([(mlp * g).sum() for mlp in made.mlps])
    embeddings = (made.streams[0] * g).sum(-1)
    return torch.stack(heads).detach().numpy(), mlps.detach().numpy(), embeddings.detach().numpy()


@pytest.mark.parametrize("pool", ["token", "avg", "map"])
def test_every_share_is_that_of_the_model_written_out(pool):
    model = with_biases(tiny_model(global_pool=pool, reg_tokens=1, init_values=0.5))
    recording = explorer.record(model, photo())
    account = ledger(recording, 2)
    for got, expected in zip((account.heads, account.mlps, account.embeddings), shares(model, 2), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())
    assert account.heads.shape == (3, 4, 66) and account.biases.shape == (4,)
    assert account.score == pytest.approx(float(recording.logits[2]), rel=1e-5)  # pyright: ignore
    assert account.error <= 1e-6


def test_a_model_in_half_the_digits_is_told_to_load_in_all():
    model = with_biases(tiny_model())
    model.module.bfloat16()
    with pytest.raises(QueryError, match=r"in bfloat16 sums are rounded .* in float32"):
        ledger(explorer.record(model, photo()), 2)


def test_a_cls_token_reads_no_embedding_but_its_own():
    account = ledger(explorer.record(tiny_model(), photo()), 0)
    assert account.embeddings[0] != 0 and not account.embeddings[1:].any()


def test_a_head_without_output_has_no_share():
    model = tiny_model()
    before = ledger(explorer.record(model, photo()), 1)
    with torch.no_grad():
        blocks_of(model)[2].attn.proj.weight[:, 16:32] = 0
    after = ledger(explorer.record(model, photo()), 1)
    assert not after.heads[2, 1].any() and before.heads[2, 1].any()


def test_the_difference_of_two_classes_is_the_difference_of_their_ledgers():
    recording = explorer.record(with_biases(tiny_model()), photo())
    one, other, both = (ledger(recording, target) for target in ("bee", 4, ("bee", 4)))
    np.testing.assert_allclose(both.heads, one.heads - other.heads, atol=1e-5)
    np.testing.assert_allclose(both.biases, one.biases - other.biases, atol=1e-5)
    assert both.total == pytest.approx(one.total - other.total, abs=1e-5)


def check(model: explorer.Model, size: int | None = None) -> Ledger:
    """The ledger of a class, else of a likeness, must add up to the score."""
    recording = explorer.record(with_biases(sharpened(model)), photo(), size)
    if recording.logits is not None:
        account = ledger(recording, 1)
        assert account.score == pytest.approx(float(recording.logits[1]), rel=1e-4, abs=1e-5)
    else:
        account = ledger(recording, similar_to=explorer.record(model, photo(seed=9), size))
    assert account.error <= 1e-4
    assert account.heads.shape == (recording.depth, recording.num_heads, len(recording.tokens))
    assert account.heads.any(axis=(1, 2)).all() and account.mlps.all() and account.biases.any()
    return account


def sharpened(model: explorer.Model) -> explorer.Model:
    with torch.no_grad():
        sharpen(model.module)
    return model


@pytest.mark.parametrize("family", ACCOUNTABLE)
def test_families_of_timm(family):
    name = ACCOUNTABLE[family][0]
    model = wrap_timm(small_timm(name), name)
    check(model, small_size(model))


@pytest.mark.parametrize("model_type", TRANSFORMERS)
def test_families_of_transformers(model_type):
    torch.manual_seed(0)
    check(wrap_transformers(create_transformers(model_type, **TRANSFORMERS[model_type][0]), model_type), 64)


CLASSIFIERS = {
    "ViTForImageClassification": "vit",
    "DeiTForImageClassification": "deit",
    "DeiTForImageClassificationWithTeacher": "deit",
    "BeitForImageClassification": "beit",
    "Dinov2ForImageClassification": "dinov2",
    "Dinov2WithRegistersForImageClassification": "dinov2_with_registers",
    "IJepaForImageClassification": "ijepa",
    "CLIPForImageClassification": "clip",
    "SiglipForImageClassification": "siglip",
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_of_transformers(name):
    import transformers

    torch.manual_seed(0)
    model_type: Any = CLASSIFIERS[name]
    settings: Any = {"vision_config": SMALL} if model_type in ("clip", "siglip") else SMALL
    config = transformers.CONFIG_MAPPING[model_type](**{**settings, "num_labels": 5})
    module = getattr(transformers, name)._from_config(config, attn_implementation="sdpa")
    check(wrap_transformers(module, model_type), 64)


def test_attention_and_mlp_side_by_side():
    name = "vit_base_patch16_xp_224"
    model = wrap_timm(small_timm(name), name)
    check(model, small_size(model))


def test_layers_that_do_not_add_to_one_stream_are_refused(monkeypatch):
    model = tiny_model()

    def post_norm(self, x, *_, **__):
        x = self.norm1(x + self.attn(x))
        return self.norm2(x + self.mlp(x))

    monkeypatch.setattr(type(blocks_of(model)[0]), "forward", post_norm)
    recording = explorer.record(model, photo())
    with pytest.raises(QueryError, match="don't add to one residual stream"):
        ledger(recording, 1)
    refused = set(MAP_KINDS) - set(recording.maps)
    assert refused == {"gradient", "legrad"}
    for kind in refused:
        with pytest.raises(QueryError, match="don't add to one residual stream"):
            recording.map(kind)
    for kind in ("relevance", "gradcam"):
        assert recording.map(kind, target=1).max() > 0


def test_a_readout_that_is_not_affine_is_refused():
    model = tiny_model()
    module: Any = model.module
    module.fc_norm = torch.nn.Tanh()
    with pytest.raises(UnsupportedModelError, match="tanh"):
        ledger(explorer.record(model, photo()), 1)


def test_layers_with_other_parts_are_refused(monkeypatch):
    model = tiny_model()
    plain = type(blocks_of(model)[0]).forward
    monkeypatch.setattr(type(blocks_of(model)[0]), "forward", lambda self, x, *_, **__: plain(self, x * 1.5))
    recording = explorer.record(model, photo())
    with pytest.raises(QueryError, match=r"one residual stream|no account"):
        ledger(recording, 1)
