"""Edits of a pass against the same edits in models written out by hand, unfused and in float64."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import rankdata
from torch import Tensor, nn

import explorer
from explorer.attention.interventions.edits import (
    CutEdge,
    DropPatches,
    Edit,
    PutToken,
    SetAttention,
    SetHead,
    SetMlp,
    edit_text,
    in_words,
    normalise_edits,
    parse_edit,
)
from explorer.attention.interventions.heads import HeadEffects
from explorer.errors import QueryError
from explorer.models.timm_models import wrap_timm
from explorer.models.transformers_models import wrap_transformers
from tests.explicit import with_biases
from tests.models.test_families import ACCOUNTABLE, SMALL, sharpen, small_size, small_timm
from tests.sabotage import sabotaged, wrap
from tests.tiny import blocks_of, photo, tiny_model

Step = Callable[[Tensor], Tensor]


@dataclass
class Block:
    """One layer's parts, each a function of "token width"."""

    norm1: Step
    qkv: Step  # -> "3 head token dim"
    out: Step
    norm2: Step
    mlp: Step


@dataclass
class ByHand:
    """A model as a list of layers: what enters layer 0, and what becomes of what leaves the last."""

    embed: Step
    blocks: list[Block]
    classify: Step
    prefix: int
    made: dict[tuple, Tensor] = field(default_factory=dict)

    def run(self, pixels: Tensor, edits: tuple[Edit, ...] = (), given: dict[tuple, Tensor] | None = None) -> Tensor:
        """The logits. given: what is put in, as runs of other photos made it."""
        x, given = self.embed(pixels)[0], given or {}
        gone = [self.index(patch) for edit in edits if isinstance(edit, DropPatches) for patch in edit.patches]
        kept = [i for i in range(len(x)) if i not in gone]
        x = x[kept]
        for layer, block in enumerate(self.blocks):
            for edit in edits:
                if isinstance(edit, PutToken) and edit.layer == layer:
                    x = x.clone()
                    source = given["x", layer][self.index(edit.source or edit.patch)]
                    x[kept.index(self.index(edit.patch))] = source
            self.made["x", layer] = x
            mine = [edit for edit in edits if getattr(edit, "layer", None) in (None, layer)]
            x = x + self.attention(layer, block, x, kept, mine, given)
            x = x + self.changed("mlp", layer, block.mlp(block.norm2(x)), kept, mine, given)
        return self.classify(x)

    def attention(self, layer: int, block: Block, x: Tensor, kept: list[int], edits: list[Edit], given) -> Tensor:
        q, k, v = block.qkv(block.norm1(x))
        scores = q @ k.mT / q.shape[-1] ** 0.5
        for edit in edits:
            if isinstance(edit, CutEdge):
                place = kept.index(self.index(edit.query)), kept.index(self.index(edit.key))
                scores[slice(None) if edit.head is None else edit.head, place[0], place[1]] = -torch.inf
        z = scores.softmax(-1) @ v
        self.made["z", layer] = z.clone()
        for edit in edits:
            if isinstance(edit, SetHead):
                z[edit.head] = given["z", layer][edit.head, kept] if edit.to == "mean" else 0
        return self.changed("attention", layer, block.out(z.transpose(0, 1).flatten(1)), kept, edits, given)

    def changed(self, name: str, layer: int, part: Tensor, kept: list[int], edits: list[Edit], given) -> Tensor:
        self.made[name, layer] = part
        for edit in edits:
            if isinstance(edit, SetMlp if name == "mlp" else SetAttention):
                part = given[name, layer][kept] if edit.to == "mean" else part * 0
        return part

    def index(self, token) -> int:
        return 0 if token == "cls" else self.prefix + token[0] * 8 + token[1]


def split(heads: int) -> Callable[[Tensor], Tensor]:
    return lambda x: x.unflatten(1, (heads, -1)).transpose(0, 1)


def timm_by_hand(module: Any) -> ByHand:
    def block(part: Any) -> Block:
        heads = part.attn.num_heads
        return Block(
            part.norm1,
            lambda x: part.attn.qkv(x).unflatten(1, (3, heads, -1)).permute(1, 2, 0, 3),
            lambda z: part.ls1(part.attn.proj(z)),
            part.norm2,
            lambda x: part.ls2(part.mlp(x)),
        )

    def classify(x: Tensor) -> Tensor:
        x = module.norm(x)
        pooled = x[0] if module.global_pool == "token" else x[module.num_prefix_tokens :].mean(0)
        return module.head(module.fc_norm(pooled))

    def embed(pixels: Tensor) -> Tensor:
        return module.norm_pre(module._pos_embed(module.patch_embed(pixels)))

    return ByHand(embed, [block(part) for part in module.blocks], classify, module.num_prefix_tokens)


def vit_by_hand(module: Any) -> ByHand:
    """transformers' ViTForImageClassification."""

    def block(part: Any) -> Block:
        own, heads = part.attention, split(part.attention.num_attention_heads)
        return Block(
            part.layernorm_before,
            lambda x: torch.stack([heads(f(x)) for f in (own.q_proj, own.k_proj, own.v_proj)]),
            own.o_proj,
            part.layernorm_after,
            part.mlp,
        )

    layers = [block(part) for part in module.vit.layers]
    return ByHand(module.vit.embeddings, layers, lambda x: module.classifier(module.vit.layernorm(x)[0]), 1)


def transformers_vit() -> explorer.Model:
    import transformers

    torch.manual_seed(0)
    config = transformers.ViTConfig(**{**SMALL, "patch_size": 8, "num_labels": 5})
    module = transformers.ViTForImageClassification._from_config(config, attn_implementation="sdpa")
    with torch.no_grad():
        sharpen(module)
    return wrap_transformers(module, "vit")


MODELS: dict[str, tuple[Callable[[], explorer.Model], Callable[[Any], ByHand]]] = {
    "cls": (tiny_model, timm_by_hand),
    "mean pooling without cls": (lambda: tiny_model(class_token=False, global_pool="avg"), timm_by_hand),
    "mean pooling with cls": (lambda: tiny_model(global_pool="avg"), timm_by_hand),
    "like DINOv2": (lambda: tiny_model(reg_tokens=4, init_values=0.5), timm_by_hand),
    "ViT of transformers": (transformers_vit, vit_by_hand),
}
PHOTOS = [photo(seed=seed) for seed in (3, 4)]
SECOND = photo(seed=9)


@pytest.fixture(scope="module", params=MODELS)
def both(request) -> tuple[explorer.Recording, ByHand]:
    """A recording by a model in float64, and the model by hand."""
    make, by_hand = MODELS[request.param]
    model = with_biases(make())
    model.module.double()
    return explorer.record(model, photo(), 64), by_hand(model.module)


def patches_alone(edits: tuple[Edit, ...], recording: explorer.Recording) -> tuple[Edit, ...]:
    """The same edits for a model without a cls token, in whose place a patch reads."""
    if "cls" in recording.prefix_tokens:
        return edits
    return tuple(replace(e, query=(1, 2)) if isinstance(e, CutEdge) and e.query == "cls" else e for e in edits)


EDITS: dict[str, tuple[Edit, ...]] = {
    "nothing": (),
    "dropped patches": (DropPatches(((0, 0), (3, 4))), DropPatches(((7, 7),))),
    "a head off": (SetHead(1, 2),),
    "two heads, one at its mean": (SetHead(0, 0, "mean"), SetHead(1, 3)),
    "attention off": (SetAttention(1),),
    "attention at its mean": (SetAttention(0, "mean"),),
    "an MLP off": (SetMlp(0),),
    "an MLP at its mean": (SetMlp(1, "mean"),),
    "an edge of one head": (CutEdge("cls", (3, 4), 1, 2),),
    "an edge of all": (CutEdge((2, 2), (3, 4)),),
    "two edges of one query": (CutEdge("cls", (3, 4), 1), CutEdge("cls", (3, 5), 1, 0)),
    "a token of a second photo": (PutToken((3, 4), 0), PutToken((1, 1), 1, (5, 6))),
    "all at once": (
        DropPatches(((0, 1),)), SetHead(0, 1, "mean"), SetMlp(1), CutEdge("cls", (3, 4)), PutToken((2, 2), 1),
    ),
}  # fmt: skip


@torch.no_grad()
def made_of_others(model: explorer.Model, by_hand: ByHand) -> dict[tuple, Tensor]:
    """The means over the photos, and what enters the layers of the second one."""
    runs = [replace(by_hand, made={}) for _ in (*PHOTOS, SECOND)]
    for run, image in zip(runs, (*PHOTOS, SECOND), strict=True):
        run.run(model.pixels(image))
    *photos, second = (run.made for run in runs)
    means = {key: torch.stack([made[key] for made in photos]).mean(0) for key in second}
    return means | {key: value for key, value in second.items() if key[0] == "x"}


@torch.no_grad()
@pytest.mark.parametrize("name", EDITS)
def test_edits_equal_those_of_the_model_by_hand(both, name):
    recording, by_hand = both
    model, edits = recording.model, patches_alone(EDITS[name], recording)
    means = any(getattr(edit, "to", "") == "mean" for edit in edits)
    puts = any(isinstance(edit, PutToken) for edit in edits)
    expected = by_hand.run(model.pixels(recording.image), edits, made_of_others(model, by_hand))
    effect = recording.what_if(edits, 1, photos=PHOTOS if means else (), second=SECOND if puts else None)
    np.testing.assert_allclose(effect.after, expected, rtol=1e-5, atol=1e-5)
    assert effect.score == pytest.approx((float(recording.logits[1]), float(expected[1])), rel=1e-5)
    changed = np.abs(effect.after - recording.logits).max()
    assert (changed > 0) == (name != "nothing")


@pytest.mark.slow
@pytest.mark.parametrize("family", ACCOUNTABLE)
def test_families_of_timm(family):
    """No edit changes nothing, bit for bit; a head off equals the projection without its input."""
    name = ACCOUNTABLE[family][0]
    model = wrap_timm(small_timm(name), name)
    sharpen(model.module)
    recording = explorer.record(model, photo(), small_size(model))
    likened = None if recording.logits is not None else explorer.record(model, SECOND, small_size(model))
    plain = recording.what_if((), 1 if likened is None else None, likened)
    trunk: Any = getattr(model.module, "encoder", model.module)
    dim = recording.calls[1].q.shape[-1]
    proj: nn.Module = trunk.blocks[1].attn.proj

    def silence(_module: Any, args: Any) -> Any:
        x = args[0].clone()
        x[..., 2 * dim : 3 * dim] = 0
        return (x,)

    edited = recording.what_if([SetHead(1, 2)], 1 if likened is None else None, likened)
    handle = proj.register_forward_pre_hook(silence)
    expected = explorer.record(model, photo(), small_size(model))  # its attention is as before, its projection not
    handle.remove()
    if recording.logits is None:
        assert plain.score[0] == plain.score[1]
    else:
        assert plain.after is not None and edited.after is not None and expected.logits is not None
        assert np.array_equal(plain.after, recording.logits)
        np.testing.assert_allclose(edited.after, expected.logits, rtol=1e-4, atol=1e-5)
    assert edited.change != 0


def test_the_ledger_foretells_exactly_what_nothing_follows():
    model = with_biases(tiny_model(final_norm=False))
    recording = explorer.record(model, photo())
    for edit in (SetMlp(2), SetMlp(2, "mean")):
        effect = recording.what_if([edit], 3, photos=PHOTOS)
        assert effect.ledger_change == pytest.approx(effect.change, rel=1e-4, abs=1e-6) and effect.change


def test_the_ledger_foretells_the_shares_of_what_is_taken():
    recording = explorer.record(with_biases(tiny_model()), photo())
    account = recording.ledger(3)
    ledger_change = {
        edit: recording.what_if([edit], 3).ledger_change for edit in (SetHead(1, 2), SetAttention(1), SetMlp(0))
    }
    assert ledger_change[SetHead(1, 2)] == pytest.approx(-account.heads[1, 2].sum(), abs=1e-5)
    assert ledger_change[SetAttention(1)] == pytest.approx(-account.heads[1].sum() - account.biases[1], abs=1e-5)
    assert ledger_change[SetMlp(0)] == pytest.approx(-account.mlps[0], abs=1e-5)
    both = recording.what_if([SetHead(1, 2), DropPatches(((3, 4),))], 3).ledger_change
    gone = np.zeros(account.heads.shape, bool)
    gone[1, 2] = gone[:, :, 1 + 3 * 8 + 4] = True
    assert both == pytest.approx(-account.heads[gone].sum(), abs=1e-5)  # what both take away counts once


def test_the_edges_of_the_last_layer_add_up_to_the_heads_share():
    recording = explorer.record(with_biases(tiny_model(depth=2, size=32)), photo())
    tokens = ["cls", *((row, col) for row in range(4) for col in range(4))]
    edges = [recording.what_if([CutEdge("cls", token, 1, 3)], 2).ledger_change for token in tokens]
    assert sum(edge or 0.0 for edge in edges) == pytest.approx(-recording.ledger(2).heads[1, 3].sum(), abs=1e-5)


def test_a_token_put_in_is_nothing_that_the_ledger_foretells():
    recording = explorer.record(tiny_model(), photo())
    assert recording.what_if([PutToken((3, 4), 1)], second=SECOND).ledger_change is None


def test_all_heads_at_once_equal_one_after_another():
    recording = explorer.record(with_biases(tiny_model()), photo())
    seen: list[tuple[int, int]] = []
    measured = recording.measure_heads(3, progress=lambda done, total: seen.append((done, total)))
    for layer, head in ((0, 0), (1, 2), (2, 3)):
        one = recording.what_if([SetHead(layer, head)], 3)
        assert measured.effects[layer, head] == pytest.approx(-one.change, rel=1e-4, abs=1e-5)
        assert measured.shares is not None and one.ledger_change == pytest.approx(
            -measured.shares[layer, head], abs=1e-5
        )
    assert measured.effects.shape == measured.divergence.shape == (3, 4) and seen == [(1, 3), (2, 3), (3, 3)]


def test_all_heads_where_the_stream_is_unknown(monkeypatch):
    model = tiny_model()

    def post_norm(self, x, *_, **__):
        x = self.norm1(x + self.attn(x))
        return self.norm2(x + self.mlp(x))

    monkeypatch.setattr(type(blocks_of(model)[0]), "forward", post_norm)
    recording = explorer.record(model, photo())
    measured = recording.measure_heads(1)
    assert measured.shares is None and measured.effects.all()
    one = recording.what_if([SetHead(1, 2)], 1)
    assert measured.effects[1, 2] == pytest.approx(-one.change, rel=1e-4, abs=1e-5) and one.ledger_change is None
    for edit in (SetAttention(1), SetMlp(1), PutToken((0, 0), 1)):
        with pytest.raises(QueryError, match="don't add to one residual stream"):
            recording.what_if([edit], 1, second=SECOND)


def test_the_divergence_is_0_for_an_even_head():
    model = tiny_model()
    with torch.no_grad():
        blocks_of(model)[1].attn.qkv.weight[:16] = 0  # the q of head 0
        blocks_of(model)[1].attn.qkv.bias[:16] = 0
    divergence = explorer.record(model, photo()).measure_heads(1).divergence
    assert divergence[1, 0] == pytest.approx(0, abs=1e-6) and (np.delete(divergence.ravel(), 4) > 0.01).all()


def test_the_correlation_is_that_of_ranks():
    values = np.random.default_rng(0).normal(size=(3, 2, 4)).astype(np.float32)
    measured = HeadEffects(1.0, values[0], values[1], np.abs(values[2]))
    ranks = [rankdata(array.ravel()) for array in (values[0], values[1], np.abs(values[0]), np.abs(values[2]))]
    assert measured.correlation(values[1]) == pytest.approx(np.corrcoef(ranks[0], ranks[1])[0, 1])
    assert measured.correlation(measured.divergence) == pytest.approx(np.corrcoef(ranks[2], ranks[3])[0, 1])
    assert np.isnan(measured.correlation(np.ones((2, 4))))


def test_without_classes_the_change_is_of_the_likeness_to_the_photo_as_it_was():
    recording = explorer.record(tiny_model(num_classes=0), photo())
    effect = recording.what_if([DropPatches(((3, 4), (3, 5)))])
    assert effect.score[0] == pytest.approx(1) and -1 < effect.score[1] < 1 and effect.top == ()


def test_the_top_classes_hold_the_winner_of_either_side():
    model = with_biases(tiny_model(num_classes=5))
    recording = explorer.record(model, photo())
    effect = recording.what_if([SetAttention(2), SetMlp(2)])
    assert recording.logits is not None and effect.before is not None and effect.after is not None
    assert [one.index for one in effect.top] == list(np.argsort(-recording.logits))
    one = effect.top[0]
    assert one.name == model.class_name(one.index)
    for side, logits in enumerate((effect.before, effect.after)):
        shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        assert one.probabilities[side] == pytest.approx(shares[one.index], rel=1e-5)
        assert one.logits[side] == logits[one.index]
    assert effect.as_dict()["edits"] == ["attention 2=off", "mlp 2=off"]


def test_attention_and_mlp_in_one_sum_are_refused():
    name = "vit_base_patch16_xp_224"
    model = wrap_timm(small_timm(name), name)
    recording = explorer.record(model, photo(), small_size(model))
    with pytest.raises(QueryError, match="in one, so neither"):
        recording.what_if([SetMlp(0)], 1)
    assert recording.what_if([SetHead(0, 1)], 1).change


@pytest.mark.parametrize(
    "edits, message",
    [
        ([SetHead(3, 0)], "layers 0 to 2"),
        ([SetHead(0, 4)], "heads 0 to 3"),
        ([SetMlp(0, "up")], "off or mean"),  # pyright: ignore[reportArgumentType]
        ([DropPatches(((8, 0),))], "outside the grid"),
        ([DropPatches(("cls",))], "(row, col)"),  # pyright: ignore[reportArgumentType]
        ([DropPatches(tuple(divmod(i, 8) for i in range(64)))], "No patch is left"),
        ([CutEdge("mean", (0, 0))], "the mean of all is none"),
        ([CutEdge("cls", "dist")], "no 'dist' token"),
        ([SetHead(0, 0, "mean")], "over photos"),
        ([PutToken((0, 0), 1)], "second photo"),
        ([*(CutEdge("cls", divmod(i, 8)) for i in range(64)), CutEdge("cls", "cls")], "Nothing is left that cls"),
    ],
)  # fmt: skip
def test_edits_that_cannot_be_are_refused(edits, message):
    recording = explorer.record(tiny_model(), photo())
    with pytest.raises(QueryError, match=message.replace("(", r"\(").replace(")", r"\)")):
        recording.what_if(edits)


def test_photos_of_another_grid_are_refused():
    recording = explorer.record(tiny_model(), photo())
    with pytest.raises(QueryError, match="other patches than the recording's 8 rows"):
        recording.what_if([SetHead(0, 0, "mean")], photos=[photo(64, 96)])


def test_attention_that_the_model_ignores_has_no_effect():
    def ignored(q, k, v):
        torch.nn.functional.scaled_dot_product_attention(q, k, v)
        return v

    recording = explorer.record(wrap(sabotaged(ignored)), photo())
    assert not recording.verified and recording.what_if([SetHead(1, 1)]).change == 0


@pytest.mark.parametrize(
    "text, edit",
    [
        ("drop 3,4", DropPatches(((3, 4),))),
        ("drop 3,4 3,5", DropPatches(((3, 4), (3, 5)))),
        ("head 11.2=off", SetHead(11, 2)),
        ("head -1.2=mean", SetHead(-1, 2, "mean")),
        ("attention 3=off", SetAttention(3)),
        ("mlp 3=mean", SetMlp(3, "mean")),
        ("cut cls:3,4", CutEdge("cls", (3, 4))),
        ("cut cls:3,4@11", CutEdge("cls", (3, 4), 11)),
        ("cut 3,4:reg1@11.2", CutEdge((3, 4), "reg1", 11, 2)),
        ("put 3,4@6", PutToken((3, 4), 6)),
        ("put 3,4@6=5,6", PutToken((3, 4), 6, (5, 6))),
    ],
)
def test_edits_are_typed_as_they_are_written(text, edit):
    assert parse_edit(text) == edit and edit_text(edit) == text and in_words(edit)


@pytest.mark.parametrize("text", ["", "head", "head 1=off", "head 1.2=up", "drop 3", "cut cls@1", "put 3,4", "rm 3,4"])
def test_a_mistyped_edit_is_a_sentence(text):
    with pytest.raises(QueryError, match=r"typed as in|begins with"):
        parse_edit(text)


def test_of_two_edits_of_one_part_the_last_counts():
    recording = explorer.record(tiny_model(), photo())
    assert normalise_edits([SetHead(-1, 2, "mean"), SetHead(2, 2), SetHead(2, 2)], recording) == (SetHead(2, 2),)
