"""The picture that ships with the app is what the bundled model says of the first sample."""

import json

import numpy as np
import pytest
from safetensors.numpy import load

import explorer
from benchmarks.first_picture import make
from explorer.errors import QueryError
from explorer.models.source import ModelSource
from explorer.rendering.view import PhotoInput, View
from explorer.web import first_picture
from explorer.web.payload import canvas_payload
from tests.tiny import photo, tiny_model

PHOTO, LAYER = "sample:cat", 1
VIEW = View(ModelSource("tiny"), PhotoInput(PHOTO, 64))
REMEDY = "run `python -m benchmarks.first_picture`"


@pytest.fixture(scope="module")
def recorded() -> explorer.Recording:
    return explorer.record(tiny_model(), photo(64, 64))


@pytest.fixture(scope="module")
def packed(recorded, tmp_path_factory) -> first_picture.FirstPicture:
    """The same recording as it would ship."""
    file = tmp_path_factory.mktemp("first") / "picture.safetensors"
    payload = canvas_payload(recorded, VIEW.with_map(layer=LAYER))
    file.write_bytes(first_picture.pack(payload, recorded.model.facts, PHOTO, recorded.grid, LAYER))
    return first_picture.read(file)


def metadata(content: bytes) -> dict[str, str]:
    return json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]


@pytest.mark.slow
def test_it_is_what_the_bundled_model_says_now():
    kept, now = first_picture.FILE.read_bytes(), make()
    assert metadata(kept).keys() == metadata(now).keys(), REMEDY
    for name in metadata(now):
        assert json.loads(metadata(kept)[name]) == json.loads(metadata(now)[name]), REMEDY
    kept, now = load(kept), load(now)
    assert kept.keys() == now.keys(), REMEDY
    for name, tensor in now.items():  # another processor rounds otherwise
        np.testing.assert_allclose(kept[name], tensor, atol=2e-3, err_msg=REMEDY)


def test_it_is_small():
    assert first_picture.FILE.stat().st_size < 600_000


@pytest.mark.parametrize("query", ["cls", (2, 5)])
def test_a_packed_picture_gives_the_canvas_payload_of_any_query(recorded, packed, query):
    assert (packed.facts, packed.photo, packed.grid, packed.layer) == (
        recorded.model.facts,
        PHOTO,
        recorded.grid,
        LAYER,
    )
    given = packed.payload(query, 7)
    expected = canvas_payload(recorded, VIEW.with_map(layer=LAYER, query=query), seq=7)
    assert json.loads(metadata(given)["canvas"]) == json.loads(metadata(expected)["canvas"])
    np.testing.assert_equal(load(given), load(expected))


@pytest.mark.parametrize("query", [None, "cls", "mean", (7, 0)])
def test_it_knows_the_queries_of_its_recording(recorded, packed, query):
    assert packed.query_indices(query) == recorded.query_indices(query)


@pytest.mark.parametrize("query", [(8, 0), "reg9"])
def test_it_refuses_those_that_its_recording_lacks(packed, query):
    with pytest.raises(QueryError):
        packed.query_indices(query)
