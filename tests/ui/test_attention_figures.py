"""The figures and settings under the canvas, without a server."""

from typing import Any

import numpy as np
import pytest

import explorer
from explorer.attention.queries import head_name, parse_query, query_name, query_text
from explorer.errors import QueryError
from explorer.ui.attention.tabs import in_blocks, matrix_figure
from tests.tiny import photo, tiny_model


@pytest.fixture(scope="module")
def recording():
    return explorer.record(tiny_model(), photo())


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
