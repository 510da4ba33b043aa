"""Which head found it: pixel AUC, IoU and pointing game against plain pixel-by-pixel references, and real photos."""

import csv

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

import explorer
from benchmarks.masks import score_centre
from explorer.attention.localization import (
    Score,
    average,
    fit_mask,
    patch_mask,
    rank_heads,
    rectangle_mask,
    score_map,
)  # fmt: skip
from explorer.errors import ImageError, QueryError
from explorer.models.geometry import Geometry
from tests.tiny import photo, tiny_model


@pytest.fixture(scope="module")
def recording():
    return explorer.record(tiny_model(), photo())


def random_mask(seed=0):
    return np.random.default_rng(seed).choice(np.array([0, 128, 255], np.uint8), (64, 64))


def pixels(heatmap):
    return np.kron(heatmap, np.ones((8, 8), np.float32))


def test_auc_and_iou_equal_those_over_all_pixels():
    heatmap = np.random.default_rng(1).random((8, 8)).round(1).astype(np.float32)  # with ties
    mask = random_mask()
    score = score_map(heatmap, patch_mask(mask, (8, 8)))
    known = mask != 128
    assert score.auc == pytest.approx(roc_auc_score(mask[known] == 255, pixels(heatmap)[known]), abs=1e-12)
    ious = []
    for threshold in np.unique(heatmap):
        chosen = pixels(heatmap)[known] >= threshold
        truth = mask[known] == 255
        ious.append((chosen & truth).sum() / (chosen | truth).sum())
    assert score.iou == pytest.approx(max(ious), abs=1e-12)


def test_pointing_looks_at_the_pixel_in_the_middle_of_the_highest_patch():
    heatmap = np.zeros((8, 8), np.float32)
    heatmap[2, 5] = 1
    mask = np.zeros((64, 64), np.uint8)
    mask[20, 44] = 255
    assert score_map(heatmap, patch_mask(mask, (8, 8))).pointing == 1
    mask[20, 44], mask[16, 40] = 0, 255
    assert score_map(heatmap, patch_mask(mask, (8, 8))).pointing == 0


def test_tied_peaks_count_by_their_share_on_the_object():
    mask = np.zeros((64, 64), np.uint8)
    mask[:, :16] = 255  # the left quarter
    counts = patch_mask(mask, (8, 8))
    flat = score_map(np.full((8, 8), 0.3, np.float32), counts)
    assert (flat.pointing, flat.auc, flat.iou) == (0.25, 0.5, pytest.approx(0.25))
    two = np.zeros((8, 8), np.float32)
    two[0, 0] = two[7, 7] = 1
    assert score_map(two, counts).pointing == 0.5


def test_every_layer_and_head_is_ranked(recording):
    scores = rank_heads(recording, random_mask())
    assert {(s.layer, s.head) for s in scores} == {
        (None, "centre prior"), *((layer, head) for layer in range(3) for head in (0, 1, 2, 3, "mean")),
    }  # fmt: skip
    assert [s.auc for s in scores] == sorted((s.auc for s in scores), reverse=True)
    mine = next(s for s in scores if (s.layer, s.head) == (1, 2))
    assert mine == score_map(recording.attention(1, 2), patch_mask(random_mask(), (8, 8)), 1, 2)


def test_the_head_that_made_the_mask_finds_it(recording):
    mask = recording.mass_mask(2, 3, mass=0.5)
    best = next(score for score in rank_heads(recording, mask) if score.layer is not None)
    assert (best.layer, best.head, best.auc, best.iou, best.pointing) == (2, 3, 1.0, 1.0, 1.0)


def test_a_query_patch_is_ranked_by_its_own_maps(recording):
    mask = recording.mass_mask(1, 0, mass=0.3, query=(4, 4))
    best = rank_heads(recording, mask, query=(4, 4))[0]
    assert (best.layer, best.head) == (1, 0)


def test_a_painted_rectangle_holds_both_corners():
    mask = rectangle_mask((8, 8), (5, 2), (3, 6))
    assert np.argwhere(mask).min(axis=0).tolist() == [3, 2] and np.argwhere(mask).max(axis=0).tolist() == [5, 6]
    with pytest.raises(QueryError, match="leaves the grid"):
        rectangle_mask((8, 8), (0, 0), (3, 8))


@pytest.mark.parametrize("fit", ["crop", "squash", "keep"])
def test_the_mask_goes_the_way_of_its_photo(fit):
    # A photo and a mask with the same red square: the fitted ones must agree to a pixel's rim.
    values = np.zeros((60, 120), np.uint8)
    values[20:44, 50:80] = 255
    image = Image.fromarray(values)
    seen = np.array(tiny_model().fit(image, 64, fit))[..., 0] > 127
    mask = fit_mask(image, tiny_model().geometry_of(image.size, 64, fit)) > 127
    assert mask.shape == seen.shape and (mask != seen).mean() < 0.02
    np.testing.assert_array_equal(fit_mask(image, 64, 8, fit) > 127, mask)


def test_a_mask_without_a_model_has_no_fit_of_its_own():
    with pytest.raises(ImageError, match="crop, squash or keep"):
        fit_mask(Image.new("L", (60, 60)), 64, 8, "own")


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_mask_of_one_kind_is_refused(value):
    with pytest.raises(QueryError, match="has no"):
        patch_mask(np.full((64, 64), value, np.uint8), (8, 8))


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(QueryError, match="divide"):
        patch_mask(np.zeros((60, 64), np.uint8), (8, 8))


def test_averages_are_over_images():
    one, two = Score(0, 1, 0.5, 0.2, 1.0), Score(0, 1, 0.7, 0.4, 0.0)
    other = Score(0, "mean", 0.9, 0.1, 1.0)
    got = average([[one, other], [two, other]])
    assert got[0] == other
    assert (got[1].auc, got[1].iou, got[1].pointing) == pytest.approx((0.6, 0.3, 0.5))


@pytest.mark.slow
def test_real_photos_give_the_known_figures(shared_data):
    weights = shared_data / "weights" / "deit_tiny_patch16_224.safetensors"
    model = explorer.load_model(weights, arch="deit_tiny_patch16_224", device="cpu")
    per_image = []
    with open(shared_data / "masks" / "manifest.csv", newline="") as file:
        for row in csv.DictReader(file):
            mask = fit_mask(shared_data / "masks" / row["mask"], Geometry.whole((224, 224), squash=True))
            recording = explorer.record(model, shared_data / "masks" / row["image"], fit="squash")
            per_image.append(rank_heads(recording, mask))
    means = {score.layer: score for score in average(per_image) if score.head == "mean"}
    expected = [0.2955, 0.6808, 0.7412, 0.7797, 0.7988, 0.8246, 0.8739, 0.8781, 0.8768, 0.9100, 0.8203, 0.7794]
    assert [means[layer].auc for layer in range(12)] == pytest.approx(expected, abs=6e-5)
    assert means[7].pointing == pytest.approx(25 / 29) and means[11].pointing == pytest.approx(5 / 29)


def test_the_benchmarks_centre_prior_gives_the_known_figures(shared_data):
    (prior,) = score_centre(shared_data / "masks")
    assert (prior.auc, prior.pointing) == (pytest.approx(0.864, abs=5e-4), pytest.approx(0.79, abs=5e-3))


def test_auc_and_iou_with_ties_and_left_out_pixels_equal_a_sweep_over_all_thresholds():
    rng = np.random.default_rng(0)
    for _ in range(20):
        rows, cols = (int(n) for n in rng.integers(2, 9, 2))
        mask = rng.choice(np.array([0, 128, 255], np.uint8), (3 * rows, 3 * cols))
        heatmap = rng.integers(0, 4, (rows, cols)).astype(np.float32)  # a few levels: many ties
        score = score_map(heatmap, patch_mask(mask, (rows, cols)))
        known, truth, values = mask.ravel() != 128, mask.ravel() == 255, np.kron(heatmap, np.ones((3, 3))).ravel()
        assert score.auc == pytest.approx(roc_auc_score(truth[known], values[known]), abs=1e-12)
        marked = [known & (values >= level) for level in np.unique(values)]
        ious = [(chosen & truth).sum() / ((chosen | truth) & known).sum() for chosen in marked]
        assert score.iou == pytest.approx(max(ious), abs=1e-12)
