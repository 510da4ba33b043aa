"""Figures call heads and classes as a person does."""

from dataclasses import replace

import pytest

import explorer
from explorer.cli import main
from explorer.errors import QueryError
from explorer.rendering.figures import figure
from explorer.rendering.names import parse_names
from explorer.rendering.vector import Text
from tests.tiny import photo, save_tiny, tiny_model
from tests.views import changed, view_of


@pytest.fixture(scope="module")
def recording():
    return explorer.record(tiny_model(), photo())


def words(drawing) -> list[str]:
    return [item.text for item in drawing.items if isinstance(item, Text)]


def test_names_are_read_a_line_each():
    assert parse_names(["9.3 = ears", "", "a = b=c = d"]) == {"9.3": "ears", "a = b=c": "d"}
    for line in ("ears", "= ears", "9.3 =", f"9.3 = {'x' * 61}"):
        with pytest.raises(QueryError, match=r"9\.3 = ears"):
            parse_names([line])


def test_heads_and_classes_have_their_names(recording):
    names = {"1.2": "edges", "German shepherd": "dog"}
    view = view_of(image="photo", kind="attention", layer=1)
    assert words(figure(view, recording, names=names))[1:] == [
        *("image", "head 0", "head 1", "edges", "head 3", "mean"),
        "Colours run from each map's lowest to its highest value.",
    ]
    everything = words(figure(view, recording, "layers", names=names))
    assert "layer 1, edges" in everything and "layer 0, head 2" in everything
    explained = figure(changed(view, kind="relevance", target="German shepherd"), recording, names=names)
    assert explained.title == "tiny: relevance for dog"


def test_a_name_changes_the_class_alone_in_a_title():
    recording = explorer.record(replace(tiny_model(), class_names=["0", "1", "10", "2", "2-10"]), photo())
    view = view_of(image="photo", kind="relevance", target=("10", "2-10"))
    assert figure(view, recording, names={"1": "one", "2": "two", "10": "ten"}).title == (
        "tiny: relevance for ten rather than 2-10"
    )
    swapped = figure(view, recording, names={"10": "2-10", "2-10": "10"})
    assert swapped.title == "tiny: relevance for 2-10 rather than 10"
    ratings = explorer.record(replace(tiny_model(), class_names=["1.0", "1.5", "2.0", "2.5", "3.0"]), photo())
    rated = view_of(image="photo", kind="relevance", target="1.0")
    assert figure(rated, ratings, names={"1.0": "poor"}).title == "tiny: relevance for poor"


def test_a_class_that_there_is_not_is_refused(recording):
    with pytest.raises(QueryError, match="no class 'lynx'"):
        figure(view_of(image="photo", layer=1), recording, names={"lynx": "cat"})


def test_the_command_takes_names(tmp_path):
    photo().save(tmp_path / "photo.png")
    out = tmp_path / "figure.svg"
    options = ["--model", save_tiny(tmp_path / "model"), "--layer", "1", "--name", "1.0=ears"]
    assert main(["figure", str(tmp_path / "photo.png"), "--out", str(out), *options]) == 0
    assert ">ears</text>" in out.read_text()
