"""Deletion and insertion curves on a classifier whose right answer can be worked out by hand, and on a real one."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from PIL import Image

import explorer
from explorer.attention.evidence import Curve, centre_prior, descending_order, evidence
from explorer.attention.removal import filled_image
from explorer.errors import QueryError
from tests.tiny import photo, tiny_model


@dataclass(frozen=True)
class SpotAdapter:
    """Class 1's logit is ten times the mean brightness of patch (2, 3), class 0's is 0."""

    def forward(self, module, pixels):
        spot = pixels[:, :, 16:24, 24:32].mean(dim=(1, 2, 3))
        return torch.zeros(len(pixels), 65, 64), torch.stack([torch.zeros_like(spot), 10 * spot], dim=1)


@pytest.fixture(scope="module")
def recording():
    return explorer.record(tiny_model(), photo())


@pytest.fixture(scope="module")
def spot(recording):
    """A recording of a photo that is black but for one white patch, by the model above."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[16:24, 24:32] = 255
    image = Image.fromarray(pixels)
    model = replace(recording.model, adapter=SpotAdapter())
    return replace(recording, model=model, image=image, logits=np.array([0.0, 10.0], np.float32))


def spot_map():
    heatmap = np.zeros((8, 8), np.float32)
    heatmap[2, 3] = 1
    return heatmap


def test_the_right_map_drops_the_class_at_once_and_brings_it_back_at_once(spot):
    result = evidence(spot, spot_map(), target=1, steps=64)
    high = 1 / (1 + np.exp(-10.0))
    low = 1 / (1 + np.exp(10 * (1 - 2 * 4 / 255)))  # the mean colour, 255 / 64 = 4 of 255
    deletion, insertion = result.curve("map", "deletion"), result.curve("map", "insertion")
    np.testing.assert_allclose(deletion.probabilities, [high] + [low] * 64, rtol=1e-5)
    np.testing.assert_allclose(insertion.probabilities, [low] + [high] * 64, rtol=1e-5)
    assert deletion.area == pytest.approx((high + low) / 2 / 64 + low * 63 / 64)
    assert deletion.area < result.curve("random", "deletion").area
    assert insertion.area > result.curve("random", "insertion").area


def test_every_step_removes_the_map_s_highest_patches(recording):
    heatmap = recording.attention(2)
    result = evidence(recording, heatmap, target=2, steps=4)
    keep = np.ones(64, bool)
    keep[descending_order(heatmap)[:16]] = False
    pixels = np.where(np.kron(keep.reshape(8, 8), np.ones((8, 8), bool))[..., None], np.array(recording.image),
                      np.array(filled_image(recording.image, "mean", 8)))  # fmt: skip
    logits = explorer.record(recording.model, pixels.astype(np.uint8)).logits
    expected = torch.from_numpy(logits).double().softmax(0)[2]
    curve = result.curve("map", "deletion")
    assert curve.probabilities[1] == pytest.approx(float(expected), rel=1e-4)
    np.testing.assert_allclose(curve.shares, [0, 0.25, 0.5, 0.75, 1])


def test_ends_are_the_image_and_the_fill_for_every_order(recording):
    result = evidence(recording, recording.attention(0), steps=3)
    whole = torch.from_numpy(recording.logits).double().softmax(0).max()
    for curve in result.curves:
        first, last = curve.probabilities[[0, -1]] if curve.game == "deletion" else curve.probabilities[[-1, 0]]
        assert first == pytest.approx(float(whole), rel=1e-4)
        assert last == pytest.approx(result.curves[0].probabilities[-1])
    assert len(result.curves) == 6 and result.target == recording.logits.argmax()


def test_a_seed_repeats_and_another_does_not(recording):
    areas = [evidence(recording, spot_map(), steps=5, seed=s).curve("random", "deletion").area for s in (3, 3, 4)]
    assert areas[0] == areas[1] != areas[2]


def test_progress_counts_every_image_and_can_stop(recording):
    seen = []
    evidence(recording, spot_map(), steps=5, random_orders=2, progress=lambda done, total: seen.append((done, total)))
    total = 2 + 6 * 4
    assert seen[-1] == (total, total) and [done for done, _ in seen] == sorted({done for done, _ in seen})

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evidence(recording, spot_map(), progress=stop)


def test_area_of_a_curve_by_hand():
    # trapezoids: (1 + .5) / 2 * .25 + (.5 + .1) / 2 * .75
    curve = Curve("map", "deletion", np.array([0, 0.25, 1]), np.array([1, 0.5, 0.1]))
    assert curve.area == pytest.approx(0.1875 + 0.225)


def test_area_of_a_straight_line():
    shares = np.linspace(0, 1, 5)
    assert Curve("map", "deletion", shares, 1 - shares).area == pytest.approx(0.5)


def test_the_centre_prior_peaks_in_the_middle_and_falls_to_the_corners():
    prior = centre_prior((5, 7))
    assert np.unravel_index(prior.argmax(), prior.shape) == (2, 3)
    assert prior[0, 0] == prior.min() and prior.dtype == np.float32


def test_fills(recording):
    mean = np.array(filled_image(recording.image, "mean", 8))
    np.testing.assert_allclose(mean[0, 0], np.array(recording.image).mean(axis=(0, 1)), atol=0.5)
    blur = np.array(filled_image(recording.image, "blur", 8)).astype(float)
    assert 0 < blur.std() < np.array(recording.image).std() / 2


@pytest.mark.parametrize(
    "settings", [{"steps": 0}, {"steps": 65}, {"random_orders": 0}, {"fill": "noise"}, {"target": 9}]
)
def test_bad_settings_are_refused(recording, settings):
    with pytest.raises(QueryError):
        evidence(recording, spot_map(), **settings)


def test_a_map_of_another_grid_and_a_model_without_classes_are_refused(recording):
    with pytest.raises(QueryError, match="equal"):
        evidence(recording, np.zeros((4, 4), np.float32))
    with pytest.raises(QueryError, match="no classes"):
        evidence(replace(recording, logits=None), spot_map())
