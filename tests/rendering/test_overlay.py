"""Heatmaps over images: size, colours and blending to the number."""

import cv2
import numpy as np
import pytest
from PIL import Image

import explorer
from explorer.errors import QueryError
from explorer.rendering.colormaps import COLORMAPS, colorize, lookup_table
from explorer.rendering.overlay import enlarge, normalize
from tests.tiny import photo

HEATMAP = np.random.default_rng(0).random((4, 6)).astype(np.float32)


@pytest.mark.parametrize("size", [(96, 64), (97, 41), (6, 4), (1, 1), (3000, 4)])
@pytest.mark.parametrize("resample", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_the_overlay_has_the_size_of_the_image(size, resample):
    picture = explorer.overlay(photo(*size), HEATMAP, resample=resample)
    assert picture.size == size and picture.mode == "RGB"


def test_opacity_blends_image_and_colours():
    image = photo(48, 32)
    assert explorer.overlay(image, HEATMAP, opacity=0) == image
    colours = np.array(explorer.overlay(image, HEATMAP, opacity=1, resample="nearest"))
    np.testing.assert_array_equal(colours, colorize(np.kron(normalize(HEATMAP), np.ones((8, 8)))))
    half = np.array(explorer.overlay(image, HEATMAP, opacity=0.5, resample="nearest"), dtype=float)
    assert np.abs(half - (colours.astype(float) + np.array(image)) / 2).max() <= 1


def test_nearest_repeats_each_patch():
    np.testing.assert_array_equal(enlarge(HEATMAP, (60, 40), "nearest"), np.kron(HEATMAP, np.ones((10, 10))))


def test_bicubic_keeps_a_flat_map_flat_and_the_middle_of_patches_close():
    np.testing.assert_allclose(enlarge(np.full((4, 6), 0.25, np.float32), (60, 40)), 0.25, atol=1e-6)
    steps = np.repeat(np.arange(6, dtype=np.float32)[None], 4, axis=0)
    # Bicubic interpolation gives back a straight line away from the rim: patch i has its centre at 10 i + 4.5.
    np.testing.assert_allclose(enlarge(steps, (60, 40))[20, 15:45], (np.arange(15, 45) - 4.5) / 10, atol=1e-4)


def test_normalize():
    scaled = normalize(HEATMAP)
    assert scaled.min() == 0 and scaled.max() == 1 and scaled.dtype == np.float32
    np.testing.assert_allclose(normalize(HEATMAP, 0.2, 0.7), np.clip((HEATMAP - 0.2) / 0.5, 0, 1), atol=1e-6)
    assert not normalize(np.full((3, 3), 0.7, np.float32)).any()


def test_a_flat_map_shows_the_lowest_colour():
    picture = explorer.overlay(photo(), np.zeros((8, 8), np.float32), opacity=1)
    assert np.unique(np.array(picture).reshape(-1, 3), axis=0).tolist() == [lookup_table("inferno")[0].tolist()]


@pytest.mark.parametrize("colormap", COLORMAPS)
def test_colour_maps_run_from_lowest_to_highest(colormap):
    table = lookup_table(colormap)
    assert table.shape == (256, 3) and table.dtype == np.uint8
    np.testing.assert_array_equal(colorize(np.array([-1.0, 0.0, 1.0, 2.0]), colormap), table[[0, 0, 255, 255]])
    np.testing.assert_array_equal(colorize(np.arange(256) / 255, colormap), table)
    if colormap != "turbo":  # turbo is darkest at both ends by design
        light = cv2.cvtColor(table[None], cv2.COLOR_RGB2LAB)[0, :, 0].astype(int)
        assert (np.diff(light) >= -1).all() and light[-1] - light[0] > 150


def test_an_image_may_be_anything_that_opens(tmp_path):
    photo().save(tmp_path / "photo.png")
    expected = explorer.overlay(photo(), HEATMAP)
    assert explorer.overlay(tmp_path / "photo.png", HEATMAP) == expected
    assert explorer.overlay(np.array(photo()), HEATMAP) == expected
    clear = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    assert np.array(explorer.overlay(clear, HEATMAP, opacity=0)).min() == 255


@pytest.mark.parametrize(
    "settings",
    [
        {"opacity": 1.1},
        {"opacity": -0.1},
        {"colormap": "jet"},
        {"resample": "area"},
        {"heatmap": np.zeros((2, 3, 4), np.float32)},
        {"heatmap": np.zeros((0, 3), np.float32)},
        {"heatmap": np.full((2, 2), np.nan, np.float32)},
    ],
)
def test_bad_settings(settings):
    with pytest.raises(QueryError):
        explorer.overlay(photo(), **{"heatmap": HEATMAP, **settings})
