"""The figures and settings under the canvas, without a server."""

from typing import Any

import numpy as np
import pytest

import explorer
from explorer.attention.queries import head_name, parse_query, query_name, query_text
from explorer.errors import QueryError
from explorer.rendering.colormaps import lookup_table
from explorer.ui.attention.figures import GAP, TILE, in_blocks, matrix_figure, mosaic, mosaic_figure, mosaic_picture
from tests.tiny import photo, tiny_model
from tests.views import changed, view_of


@pytest.fixture(scope="module")
def recording():
    return explorer.record(tiny_model(), photo())


def test_a_mosaic_holds_layers_from_left_to_right_and_heads_from_top_to_bottom():
    maps = np.zeros((3, 2, 4, 4), np.float32)
    maps[2, 0] = 1  # only layer 2, head 0 is bright
    picture = np.array(mosaic_picture(maps, "inferno", "shared", "nearest"))
    assert picture.shape == (2 * TILE, 3 * TILE, 4)
    dark, bright = lookup_table("inferno")[[0, 255]]
    middle = TILE // 2
    np.testing.assert_array_equal(picture[middle, 2 * TILE + middle, :3], bright)
    np.testing.assert_array_equal(picture[TILE + middle, 2 * TILE + middle, :3], dark)
    np.testing.assert_array_equal(picture[middle, middle, :3], dark)
    assert (picture[: GAP - 1, :, 3] == 0).all(), "between the tiles the page shows through"


def test_scales_of_a_mosaic():
    maps = np.stack([np.full((1, 2, 2), 0.1), np.full((1, 2, 2), 0.2)]).astype(np.float32)
    maps[:, :, 0, 0] = 0
    brightest = {}
    for scale in ("map", "shared", "raw"):
        picture = np.array(mosaic_picture(maps, "grey", scale, "nearest"))[..., 0]
        brightest[scale] = [int(picture[:, :TILE].max()), int(picture[:, TILE:].max())]
    assert brightest == {"map": [255, 255], "shared": [128, 255], "raw": [26, 51]}


def test_a_mosaic_is_made_once_and_its_tiles_say_what_they_are(recording):
    view = view_of(image="photo", query="cls")
    shown = mosaic(recording, view)
    assert mosaic(recording, changed(view, layer=0)) is shown
    for change in ({"query": (0, 0)}, {"hide_artefacts": True}, {"scale": "shared"}):
        assert mosaic(recording, changed(view, **change)) is not shown
    figure = mosaic_figure(shown, recording.grid, 1, 2, "#c2410c")
    points: Any = figure.data[0]
    at = list(zip(points.x, points.y, strict=True)).index((1, 2))
    assert points.customdata[at] == recording.attention(1, 2, "cls").max()
    frame = figure.layout.shapes[0]
    assert (frame.x0, frame.x1, frame.y0, frame.y1) == (0.5, 1.5, 1.5, 2.5)


def test_large_matrices_are_averaged_in_blocks():
    matrix = np.arange(25, dtype=np.float32).reshape(5, 5)
    cells, block = in_blocks(matrix, largest=3)
    assert (cells.shape, block) == ((3, 3), 2)
    assert cells[0, 0] == matrix[:2, :2].mean()
    assert cells[2, 2] == matrix[4, 4]
    same, one = in_blocks(matrix, largest=5)
    np.testing.assert_array_equal(same, matrix)
    assert one == 1


def test_a_matrix_figure_holds_every_weight(recording):
    matrix = recording.matrix(0, "mean")
    heat: Any = matrix_figure(matrix, "viridis").data[0]
    np.testing.assert_allclose(heat.z, matrix)


@pytest.mark.parametrize("query", ["cls", "reg1", "mean", (3, 14)])
def test_queries_go_into_the_address_and_back(query):
    assert parse_query(query_text(query)) == query


def test_a_query_that_is_none_is_one_clear_error():
    with pytest.raises(QueryError, match="row,col"):
        parse_query("3,four")


def test_queries_and_heads_in_words():
    assert [query_name(query) for query in ("cls", "mean", (1, 2))] == [
        "cls",
        "the mean of all patches",
        "patch (1, 2)",
    ]
    assert [head_name(head) for head in (3, "max")] == ["head 3", "max of heads"]
