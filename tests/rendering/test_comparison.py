"""Two recordings in one picture: the same place and depth in both, and colours that say which looks more."""

import json

import numpy as np
import pytest
from PIL import Image

import explorer
from explorer.attention.divergence import difference
from explorer.errors import QueryError
from explorer.rendering.comparison import comparison_picture, difference_map, paint_difference, second_view
from explorer.rendering.comparison_figure import comparison_figure
from explorer.rendering.vector import Picture, Text
from explorer.rendering.view import MapChoice
from tests.tiny import photo, tiny_model
from tests.views import view_of

VIEW = view_of(layer=2, query=(2, 5))


@pytest.fixture(scope="module")
def pair():
    """A model of 3 layers on 8 x 8 patches, and one of 2 layers, without cls, on 4 x 4."""
    coarse = tiny_model(depth=2, patch_size=16, num_classes=0, class_token=False, global_pool="avg", seed=1)
    return explorer.record(tiny_model(), photo()), explorer.record(coarse, photo())


def test_the_second_view_is_at_the_same_place_and_depth(pair):
    found = second_view(VIEW, *pair)
    assert (found.map["layer"], found.map["query"]) == (1, (1, 2))
    assert second_view(view_of(layer=-1), *pair).map["query"] == "mean"
    rolled = second_view(VIEW.with_map("rollout", start_layer=1), *pair)
    assert rolled.map == MapChoice("rollout", query=(1, 2), start_layer=1)


def test_the_difference_is_that_of_both_maps(pair):
    first, second = pair
    expected = difference(first.attention(2, "mean", (2, 5)), second.attention(1, "mean", (1, 2)))
    np.testing.assert_array_equal(difference_map(VIEW, first, second), expected)


def test_orange_is_more_blue_is_less_and_alike_stays_grey():
    change = np.array([[0.5, 0.0], [-0.5, 0.0]], np.float32)
    painted = np.array(paint_difference(Image.new("RGB", (64, 64), (128, 128, 128)), change)).astype(int)
    red, _, blue = painted[4, 4]
    assert red > blue + 100
    red, _, blue = painted[60, 4]
    assert blue > red + 100
    assert np.ptp(painted[32, 63]) < 10


def test_rounding_is_not_painted_as_a_change():
    change = np.array([[1e-9, 0.0], [-1e-9, 0.0]], np.float32)
    painted = np.array(paint_difference(Image.new("RGB", (64, 64), (128, 128, 128)), change)).astype(int)
    assert np.ptp(painted, axis=-1).max() <= 1


def test_the_picture_holds_both_maps_and_their_difference(pair):
    assert comparison_picture(VIEW, *pair).size == (3 * 64 + 2 * 8, 64)


def test_the_figure_has_both_maps_their_difference_and_its_range(pair):
    drawing = comparison_figure(VIEW, *pair)
    pictures = [item for item in drawing.items if isinstance(item, Picture)]
    words = [item.text for item in drawing.items if isinstance(item, Text)]
    most = float(np.abs(difference_map(VIEW, *pair)).max())
    ends = [f"{-100 * most:.2f} %", f"+{100 * most:.2f} %"]
    assert len(pictures) == 4 and words[1:3] == ["tiny", "tiny"] and words[-2:] == ends
    change = np.array(paint_difference(pictures[0].image, difference_map(VIEW, *pair)).size)
    assert tuple(change) == pictures[2].image.size and drawing.pdf().startswith(b"%PDF")
    found = json.loads(drawing.settings)
    assert found["provenance"]["weights_sha256"] != found["second"]["provenance"]["weights_sha256"]


def test_two_shapes_of_a_photo_are_refused(pair):
    wide = explorer.record(tiny_model(), photo(128, 64), fit="keep")
    with pytest.raises(QueryError, match="same fit"):
        difference_map(VIEW, pair[0], wide)
