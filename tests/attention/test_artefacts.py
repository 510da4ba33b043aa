"""Outlying token norms, on made-up norms with a known answer and on a model with one planted."""

import numpy as np
import pytest

import explorer
from explorer.attention.artefacts import artefact_mask, outlier_counts, outliers, patch_norms, without_artefacts
from explorer.errors import QueryError
from tests.tiny import photo, tiny_model, with_artefacts


def test_planted_outliers_are_found_and_nothing_else():
    norms = np.random.default_rng(0).normal(50, 3, (16, 16))
    norms[3, 4], norms[12, 0] = 160, 500
    assert np.argwhere(outliers(norms)).tolist() == [[3, 4], [12, 0]]


def test_many_outliers_do_not_hide_each_other():
    norms = np.random.default_rng(1).normal(50, 3, 200)
    norms[:60] = 400  # mean and standard deviation would give 155 + 3 * 160: none found
    assert outliers(norms).sum() == 60


def test_narrow_spread_makes_no_outliers():
    norms = np.full(100, 10.0)
    norms[0] = 10.4
    assert not outliers(norms).any()


def test_a_planted_token_is_found_in_a_recording():
    recording = explorer.record(with_artefacts(tiny_model(depth=2), (2, 5)), photo())
    assert np.argwhere(artefact_mask(recording)).tolist() == [[2, 5]]
    assert outlier_counts(recording) == [1, 1, 1]
    assert patch_norms(recording, 0).argmax() == 2 * 8 + 5


def test_taken_out_patches_get_the_lowest_remaining_value():
    heatmap = np.array([[0.9, 0.2], [0.3, 0.0]], dtype=np.float32)
    mask = np.array([[True, False], [False, True]])
    expected = np.array([[0.2, 0.2], [0.3, 0.2]], dtype=np.float32)
    np.testing.assert_array_equal(without_artefacts(heatmap, mask), expected)


def test_each_head_gets_its_own_lowest_value():
    heads = np.array([[[0.9, 0.2], [0.3, 0.1]], [[0.0, 0.5], [0.6, 0.7]]], dtype=np.float32)
    mask = np.array([[True, False], [False, False]])
    cleaned = without_artefacts(heads, mask)
    assert cleaned[:, 0, 0].tolist() == pytest.approx([0.1, 0.5])
    np.testing.assert_array_equal(cleaned[:, ~mask], heads[:, ~mask])


@pytest.mark.parametrize("mask", [np.ones((2, 2), bool), np.zeros((3, 3), bool)])
def test_bad_masks_are_refused(mask):
    with pytest.raises(QueryError):
        without_artefacts(np.zeros((2, 2)), mask)


@pytest.mark.parametrize("settings", [{"deviations": 0}, {"ratio": 0.5}])
def test_bad_settings_are_refused(settings):
    with pytest.raises(QueryError):
        outliers(np.ones(4), **settings)
