"""One token through one layer: every number against a block written out by hand in float64."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import explorer
from explorer.attention.step import Step, layer_pass
from explorer.errors import QueryError
from explorer.models.backbone import Model
from explorer.models.timm_models import wrap_timm
from explorer.models.transformers_models import create_transformers, wrap_transformers
from tests.explicit import with_biases
from tests.models.test_families import ACCOUNTABLE, SMALL, TRANSFORMERS, sharpen, small_size, small_timm
from tests.sabotage import sabotaged, wrap
from tests.tiny import blocks_of, photo, tiny_model

QKV = tuple[Tensor, Tensor, Tensor]  # "token width" each


def timm_parts(block: Any, x: Tensor) -> tuple[QKV, Any]:
    """q, k, v of x, and (projection, MLP with its norm) of a timm block, with its layer scales."""
    gamma1, gamma2 = (getattr(scale, "gamma", 1) for scale in (block.ls1, block.ls2))
    q, k, v = block.attn.qkv(block.norm1(x)).chunk(3, dim=-1)
    return (q, k, v), (
        lambda joined: block.attn.proj(joined) * gamma1,
        lambda between: block.mlp.fc2(F.gelu(block.mlp.fc1(block.norm2(between)))) * gamma2,
    )


def transformers_parts(layer: Any, x: Tensor) -> tuple[QKV, Any]:
    normed = layer.layernorm_before(x)
    q, k, v = (getattr(layer.attention, f"{name}_proj")(normed) for name in "qkv")
    return (q, k, v), (
        layer.attention.o_proj,
        lambda between: layer.mlp.fc2(F.gelu(layer.mlp.fc1(layer.layernorm_after(between)))),
    )


def assert_step(got: Step, x: Tensor, parts: Any, heads: int) -> None:
    """Every number of the step against softmax(q k^T) v, its projection and the MLP, one after the other."""
    (q, k, v), (project, mlp) = parts
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(0, 1) for t in (q, k, v))  # "head token dim"
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    pattern = scores.exp() / scores.exp().sum(-1, keepdim=True)
    mixed = pattern @ v
    attention = project(mixed.transpose(0, 1).flatten(1))
    added = mlp(x + attention)
    after = x + attention + added
    token = got.token
    expected = {
        "before": x[token], "q": q[:, token], "k": k, "scores": scores[:, token], "pattern": pattern[:, token],
        "values": v, "heads": mixed[:, token], "joined": mixed[:, token].flatten(), "attention": attention[token],
        "between": (x + attention)[token], "mlp": added[token], "after": after[token],
    }  # fmt: skip
    for name, numbers in expected.items():
        np.testing.assert_allclose(getattr(got, name), numbers.detach(), rtol=1e-5, atol=1e-5, err_msg=name)
    norms = float(x[token].norm()), float(after[token].norm())
    assert got.norms == pytest.approx(norms, rel=1e-5)
    assert got.moved == pytest.approx(float((after - x)[token].norm()), rel=1e-4)
    assert got.cosine == pytest.approx(float(F.cosine_similarity(x[token], after[token], dim=0)), abs=1e-5)


@pytest.mark.parametrize("settings", [{}, {"init_values": 0.5, "reg_tokens": 2}], ids=["ViT", "DINOv2"])
@pytest.mark.parametrize(("layer", "query"), [(0, "cls"), (1, (2, 5)), (-1, (7, 7))])
def test_a_vit_of_timm(settings, layer, query):
    model = with_biases(tiny_model(**settings))
    got = explorer.record(model, photo()).step(layer, query)
    module: Any = copy.deepcopy(model.module).double()
    with torch.no_grad():
        x = module.norm_pre(module._pos_embed(module.patch_embed(model.preprocess(photo()).double())))
        for block in module.blocks[: got.layer]:
            x = block(x)
        assert_step(got, x[0], timm_parts(module.blocks[got.layer], x[0]), 4)
        tokens = torch.from_numpy(np.stack([got.before, got.after])).double()
        said = module.head(module.norm(tokens))
    np.testing.assert_allclose(np.array(got.said), said, rtol=1e-5, atol=1e-5)
    assert got.pattern.sum(axis=1) == pytest.approx(1, abs=1e-5)
    prefix = len(model.prefix_tokens)
    assert got.token == (0 if query == "cls" else prefix + 8 * query[0] + query[1])
    assert got.layer == layer % 3


def test_a_vit_of_transformers():
    torch.manual_seed(0)
    module: Any = create_transformers("vit", **SMALL)
    model = with_biases(wrap_transformers(module, "vit"))
    sharpen(module)
    got = explorer.record(model, photo()).step(1, (3, 0))
    exact: Any = copy.deepcopy(model.module).double()
    with torch.no_grad():
        x = exact.embeddings(model.preprocess(photo()).double())
        x = exact.layers[0](x)[0] if x.ndim == 3 else x
        assert_step(got, x, transformers_parts(exact.layers[1], x), 4)
    assert got.said is None, "no classifier"


def check(model: Model, size: int | None) -> None:
    """The stream of a family's step is the one that its own blocks pass on, and its pattern the recording's."""
    recording = explorer.record(model, photo(), size)
    query = (1, 2)
    steps = [recording.step(layer, query) for layer in range(recording.depth)]
    for layer, step in enumerate(steps):
        np.testing.assert_allclose(step.pattern, recording.rows(layer, query), atol=1e-5)
        norms = [recording.token_norms(layer + place)[step.token] for place in (0, 1)]
        assert step.norms == pytest.approx(norms, rel=1e-4)
        np.testing.assert_allclose(step.between + step.mlp, step.after, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(steps[0].after, steps[1].before)


@pytest.mark.slow
@pytest.mark.parametrize("family", ACCOUNTABLE)
def test_families_of_timm(family):
    name = ACCOUNTABLE[family][0]
    model = wrap_timm(small_timm(name), name)
    check(model, small_size(model))


@pytest.mark.slow
@pytest.mark.parametrize("model_type", TRANSFORMERS)
def test_families_of_transformers(model_type):
    torch.manual_seed(0)
    check(wrap_transformers(create_transformers(model_type, **TRANSFORMERS[model_type][0]), model_type), 64)


def test_many_tokens_of_one_layer_run_the_model_once(monkeypatch):
    recording = explorer.record(tiny_model(), photo())
    inside = layer_pass(recording, 1)
    monkeypatch.setattr(type(recording.model), "forward", None)
    one, other = inside.step((0, 0)), inside.step("cls")
    assert one.token == 1 and other.token == 0 and (one.before != other.before).any()


def test_a_step_is_of_one_token():
    recording = explorer.record(tiny_model(class_token=False, global_pool="avg"), photo())
    for query in (None, "mean"):
        with pytest.raises(QueryError, match=r"follows one token: ask for a patch \(row, col\)\."):
            recording.step(0, query)
    with pytest.raises(QueryError, match="layers 0 to 2; 3 is none"):
        recording.step(3, (0, 0))


def test_side_by_side_blocks_are_refused():
    name = "vit_base_patch16_xp_224"
    model = wrap_timm(small_timm(name), name)
    recording = explorer.record(model, photo(), small_size(model))
    with pytest.raises(QueryError, match="adds to its tokens in one sum"):
        recording.step(0, (0, 0))


def test_blocks_of_unknown_code_are_refused():
    model = wrap(sabotaged(lambda q, k, v: F.scaled_dot_product_attention(q, k, v).flip(1)))
    recording = explorer.record(model, photo())
    assert not recording.verified
    with pytest.raises(QueryError, match="are its own"):
        recording.step(0)


def test_layers_whose_parts_do_not_add_up_are_refused(monkeypatch):
    model = tiny_model()
    block = type(blocks_of(model)[0])

    def in_place(self, x, *_, **__):
        x = x.add_(self.attn(self.norm1(x)))  # the sum takes the place of its operand
        return x + self.mlp(self.norm2(x))

    monkeypatch.setattr(block, "forward", in_place)
    recording = explorer.record(model, photo())
    with pytest.raises(QueryError, match="doesn't add up to what leaves it"):
        recording.step(0)
