"""What a bench measures, against loops written out, and on a model whose answer hangs on one known patch."""

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import explorer
from explorer.attention.removal import filled_image
from explorer.errors import QueryError
from explorer.evaluation.bench import ways
from explorer.evaluation.bench.contenders import CONTROLS, entrants
from explorer.evaluation.bench.measures import MEASURES, Faithfulness, Removal, mask_scores, segmentation_scores
from explorer.evaluation.bench.ways import WAYS
from tests.tiny import photo, tiny_model


@pytest.fixture(scope="module")
def recording():
    return explorer.record(tiny_model(), photo())


def answers(recording, pictures: list[torch.Tensor], target: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether each picture, one at a time, still has the class, and its probability."""
    found = []
    for picture in pictures:
        with torch.no_grad():
            logits = recording.model.module(picture[None])[0]
        found.append((float(logits.argmax() == target), float(logits.softmax(0)[target])))
    kept, probability = np.array(found).T
    return kept, probability


def scores_of(faithful: Faithfulness, heatmap: np.ndarray) -> dict[str, float]:
    """Of one map."""
    return faithful.scores({"map": heatmap})["map"]


def pictures_without(recording, filling: torch.Tensor, order: list[int], shares) -> list[torch.Tensor]:
    """The photo with the first shares of an order of patches replaced, patch by patch."""
    made = []
    for share in shares:
        picture = recording.model.pixels(recording.image)[0].clone()
        for patch in order[: round(share * len(order))]:
            rows, cols = (slice(8 * place, 8 * place + 8) for place in divmod(patch, 8))
            picture[:, rows, cols] = filling[:, rows, cols]
        made.append(picture)
    return made


@pytest.mark.parametrize("way", ["grey", "blur"])
def test_filled_patches_written_out(recording, way):
    heatmap, target = recording.attention(1), recording.class_index(None)
    filling = torch.zeros(3, 64, 64)
    if way == "blur":
        filling = recording.model.pixels(filled_image(recording.image, "blur", 8))[0]
    falling = sorted(range(64), key=lambda patch: -heatmap.ravel()[patch])
    shares = WAYS[way].shares
    kept_mif, mif = answers(recording, pictures_without(recording, filling, falling, shares), target)
    kept_lif, lif = answers(recording, pictures_without(recording, filling, falling[::-1], shares), target)
    whole, empty = answers(recording, [recording.model.pixels(recording.image)[0], filling], target)[1]
    got = scores_of(Faithfulness(recording, (way,), target, seed=0), heatmap)
    assert got[f"mif_{way}"] == pytest.approx(1 - kept_mif.mean())
    assert got[f"lif_{way}"] == pytest.approx(kept_lif.mean())
    assert got[f"srg_{way}"] == pytest.approx(kept_lif.mean() - kept_mif.mean())
    assert got[f"srg_p_{way}"] == pytest.approx(lif.mean() - mif.mean(), abs=1e-5)
    area, curve = ("deletion", mif) if way == "grey" else ("insertion", lif[::-1])
    ends = (whole, empty) if way == "grey" else (empty, whole)
    at = shares if way == "grey" else [1 - share for share in reversed(shares)]
    assert got[area] == pytest.approx(np.trapezoid([ends[0], *curve, ends[1]], [0, *at, 1]), abs=1e-5)


@pytest.mark.parametrize("pool", ["token", "avg"])
def test_dropped_patches_leave_the_token_list(pool):
    """timm's own blocks over the tokens that stay."""
    recording = explorer.record(tiny_model(global_pool=pool), photo())
    module: Any = recording.model.module
    heatmap, target = recording.attention(1, query="mean"), recording.class_index(None)
    falling = sorted(range(64), key=lambda patch: -heatmap.ravel()[patch])
    probabilities = []
    for order in (falling, falling[::-1]):
        for share in WAYS["dropped"].shares:
            stay = [0, *(patch + 1 for patch in range(64) if patch not in order[: round(share * 64)])]
            with torch.no_grad():
                x = module._pos_embed(module.patch_embed(recording.model.pixels(recording.image)))[:, stay]
                logits = module.forward_head(module.norm(module.blocks(x)))
            probabilities.append(float(logits[0].softmax(0)[target]))
    got = scores_of(Faithfulness(recording, ("dropped",), target, seed=0), heatmap)["srg_p_dropped"]
    mif, lif = np.array(probabilities).reshape(2, -1).mean(1)
    assert got == pytest.approx(lif - mif, abs=1e-5)


def test_road_fills_from_the_neighbours(recording):
    from explorer.evaluation.bench.imputation import impute

    heatmap, target = recording.attention(1), recording.class_index(None)
    falling = sorted(range(64), key=lambda patch: -heatmap.ravel()[patch])
    shares = WAYS["road"].shares
    gone = [np.isin(np.arange(64), order[: round(share * 64)]).reshape(8, 8)
            for order in (falling, falling[::-1]) for share in shares]  # fmt: skip
    pixels = recording.model.pixels(recording.image)
    pictures = impute(pixels, torch.from_numpy(np.stack(gone)), torch.Generator().manual_seed(4))
    _, probability = answers(recording, list(pictures), target)
    got = scores_of(Faithfulness(recording, ("road",), target, seed=4), heatmap)["srg_p_road"]
    first, last = np.split(probability, 2)
    assert got == pytest.approx(last.mean() - first.mean(), abs=1e-4)


@dataclass(frozen=True)
class SpotAdapter:
    """Class 1's logit is the brightness of patch (7, 0) against grey, class 0's is 3."""

    def forward(self, module, pixels):
        spot = pixels[:, :, 56:, :8].mean(dim=(1, 2, 3))
        return torch.zeros(len(pixels), 65, 64), torch.stack([torch.full_like(spot, 3), 10 * spot], dim=1)


@dataclass(frozen=True)
class OneLabel:
    """One label by itself, whose logit is the picture's brightness."""

    def forward(self, module, pixels):
        return torch.zeros(len(pixels), 65, 64), pixels.mean(dim=(1, 2, 3))[:, None]


@pytest.fixture(scope="module")
def planted(recording):
    """A recording by a model that looks at patch (7, 0) alone, which is white on grey."""
    pixels = np.full((64, 64, 3), 128, np.uint8)
    pixels[56:, :8] = 255
    model = replace(recording.model, adapter=SpotAdapter())
    return replace(recording, model=model, image=Image.fromarray(pixels), logits=np.array([3.0, 10.0], np.float32))


@pytest.mark.parametrize("way", ["grey", "blur", "road"])
def test_the_map_that_finds_the_planted_patch_scores_highest(planted, way):
    found = np.zeros((8, 8), np.float32)
    found[7, 0] = 1
    centre, random = CONTROLS
    others = [np.roll(found, 1, axis=1) - found, -found, centre.draw(planted, 1, 0)]
    faithful = Faithfulness(planted, (way,), 1, seed=0)
    best = scores_of(faithful, found)
    scores = [scores_of(faithful, heatmap) for heatmap in others]
    chance = [scores_of(faithful, random.draw(planted, 1, seed)) for seed in range(6)]
    for measure in (f"srg_{way}", f"srg_p_{way}"):
        assert best[measure] > max(each[measure] for each in scores)
        assert best[measure] > np.mean([each[measure] for each in chance]) + 0.5
    if way == "grey":
        assert (best["mif_grey"], best["lif_grey"]) == (1, 1) and scores_of(faithful, -found)["mif_grey"] == 0


def test_a_map_that_says_nothing_scores_as_chance_wherever_the_answer_lies(planted):
    """Ties in reading order would take the planted patch, the last but seven, last."""
    flat = np.zeros((8, 8), np.float32)
    found = [scores_of(Faithfulness(planted, ("grey",), 1, seed), flat)["srg_grey"] for seed in range(40)]
    assert abs(np.mean(found)) < 0.3 and np.std(found) > 0.3


def test_a_map_has_its_numbers_whichever_others_take_part(recording):
    target = recording.class_index(None)
    faithful = Faithfulness(recording, ("grey", "road"), target, seed=0)
    maps = {str(layer): recording.attention(layer) for layer in range(3)}
    together = faithful.scores(maps)
    for name, heatmap in maps.items():
        assert together[name] == pytest.approx(scores_of(faithful, heatmap), abs=1e-5)
    assert together["0"] != together["1"]


def test_road_fills_a_model_in_half_the_digits_as_exactly(recording):
    target, heatmap = recording.class_index(None), recording.attention(1)
    model = replace(recording.model, module=copy.deepcopy(recording.model.module).bfloat16())
    seen: list[torch.Tensor] = []
    for each in (recording.model, model):
        road = Removal(replace(recording, model=each), WAYS["road"], target, seed=0)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(ways, "logits_of", lambda model, pictures: seen.append(pictures) or torch.zeros(2, 5))
            road.both([heatmap])
    assert seen[1].dtype == torch.bfloat16
    torch.testing.assert_close(seen[1].float(), seen[0], rtol=0, atol=0.02)  # a bfloat16 near 1 is rounded by .004


def test_of_a_single_label_only_the_probability_can_change(recording):
    model = replace(recording.model, adapter=OneLabel(), outputs="labels")
    one = replace(recording, model=model, logits=np.array([2.0], np.float32))
    got = scores_of(Faithfulness(one, ("grey",), 0, seed=0), recording.attention(1))
    assert got.keys() == {"srg_p_grey", "deletion"}


def test_segmentation_is_chefers_protocol():
    """Their steps, written out: enlarge, scale to 0..1, cut at the mean; the rim marked 128 doesn't count."""
    rng = np.random.default_rng(0)
    heatmap = rng.random((4, 4)).astype(np.float32)
    mask = np.zeros((32, 32), np.uint8)
    mask[8:24, 8:30] = 255
    mask[8:24, 24:30] = 128
    large = np.array(Image.fromarray(heatmap).resize((32, 32), Image.Resampling.BILINEAR))
    large = (large - large.min()) / (large.max() - large.min())
    counts = mask != 128
    found, truth = (large > large.mean())[counts], (mask == 255)[counts]
    both, either = (found & truth).sum(), (found | truth).sum()
    outside = (~found & ~truth).sum() / (~found | ~truth).sum()
    got = segmentation_scores(heatmap, mask)
    assert got["seg_accuracy"] == pytest.approx((found == truth).mean(), abs=2e-3)
    assert got["seg_iou"] == pytest.approx((both / either + outside) / 2, abs=2e-3)
    squares = np.kron(np.eye(2), np.ones((2, 2))).astype(np.float32)
    perfect = segmentation_scores(squares, np.kron(squares, np.full((8, 8), 255)).astype(np.uint8))
    assert perfect["seg_ap"] > 0.95 > got["seg_ap"]


def test_mask_scores_have_the_numbers_of_the_ranking(recording):
    mask = np.zeros((64, 64), np.uint8)
    mask[8:32, 16:56] = 255
    heatmap = recording.attention(2)
    from explorer.attention.localization import patch_mask, score_map

    expected = score_map(heatmap, patch_mask(mask, (8, 8)))
    got = mask_scores(heatmap, mask)
    assert (got["auc"], got["iou"], got["pointing"]) == (expected.auc, expected.iou, expected.pointing)
    assert {name for name, measure in MEASURES.items() if measure.needs_mask} == got.keys()


def test_maps_are_asked_for_by_kind_and_settings():
    names = [each.name for each in entrants(["all", "rollout:discard-ratio=0.9", "gradient"], ["occlusion"])]
    assert "occlusion" not in names and names[-3:] == ["rollout:discard-ratio=0.9", "centre", "random"]
    assert len(names) == len(set(names))
    for wrong, said in {
        "saliency": "one of attention",
        "rollout:layer=3": "isn't a setting of rollout .* query, fusion",
        "relevance:target=3": "the class that the model predicts",
        "rollout:discard_ratio=2": "from 0 to below 1",
    }.items():
        with pytest.raises(QueryError, match=said):
            entrants([wrong])
