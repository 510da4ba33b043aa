"""Weights sent to the app: a model goes to checkpoints/ and is shown, anything else leaves no trace."""

import io
import os
import zipfile
from pathlib import Path

import pytest
import torch
from streamlit.testing.v1 import AppTest

from explorer.models.source import ModelSource
from explorer.ui.model_picker import safe_name
from tests.app import TINY, open_app, sentences
from tests.tiny import save_weights


class RunsCode:
    """A pickle that would make a folder when it is opened."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def upload(name: str, content: bytes, **fields) -> AppTest:
    app = open_app()
    uploader = next(widget for widget in app.file_uploader if widget.label == "Weights file")
    uploader.set_value((name, content, "application/octet-stream"))
    if "heads" in fields:
        app.number_input(key="weights_0_heads").set_value(fields["heads"])
    next(button for button in app.button if button.label == "Load it").click().run()
    return app


@pytest.mark.slow
def test_a_model_is_kept_and_shown(checkpoints, tmp_path_factory):
    content = save_weights(tmp_path_factory.mktemp("theirs"), seed=1).read_bytes()
    app = upload("../my model!.safetensors", content, heads=8)
    assert not app.exception and not sentences(app)
    choice = app.session_state["choice"]
    assert choice.model.source == ModelSource("checkpoints/my-model-.safetensors", num_heads=8)
    assert choice.model.num_heads == 8
    assert (checkpoints / "my-model-.safetensors").read_bytes() == content


@pytest.mark.slow
def test_a_second_file_of_the_same_name_gets_a_name_of_its_own(checkpoints, tmp_path_factory):
    before = (checkpoints / "tiny.safetensors").read_bytes()
    app = upload("tiny.safetensors", save_weights(tmp_path_factory.mktemp("theirs"), seed=1).read_bytes())
    assert app.session_state["choice"].model.source.source == "checkpoints/tiny-2.safetensors"
    assert (checkpoints / "tiny.safetensors").read_bytes() == before


@pytest.mark.slow
def test_a_file_that_is_there_already_gets_no_second_name(checkpoints):
    app = upload("tiny.safetensors", (checkpoints / "tiny.safetensors").read_bytes())
    assert app.session_state["choice"].model.source.source == TINY and not sentences(app)
    assert [path.name for path in checkpoints.iterdir()] == ["tiny.safetensors"], "nor is it noted as an upload"


def assumed(app: AppTest) -> list[str]:
    return [caption.value.replace("\\", "") for caption in app.sidebar.caption if "heads" in caption.value]


@pytest.mark.slow
@pytest.mark.parametrize("page", ["home", "attention", "patches"])
def test_heads_that_were_assumed_are_told_below_the_picker_of_every_page(checkpoints, page):
    app = open_app(page)
    [told] = assumed(app)
    assert "The file doesn't say how many heads: 1 assumed" in told and "give **Heads**" in told
    app.number_input(key="heads").set_value(4).run()
    assert not app.exception and not assumed(app)
    assert app.session_state["choice"].model.num_heads == 4


@pytest.mark.slow
def test_the_heads_of_a_file_are_there_again_after_another_model_and_the_link_has_them_only_with_the_file(checkpoints):
    app = open_app(heads="4")
    assert app.session_state["choice"].model.num_heads == 4 and app.query_params["heads"] == "4"
    app.selectbox(key="model").set_value("bundled").run()
    assert (
        not app.exception
        and app.session_state["choice"].model.source.num_heads is None
        and "heads" not in app.query_params
    )
    app.selectbox(key="model").set_value(TINY).run()
    assert app.session_state["choice"].model.num_heads == 4 and app.query_params["heads"] == "4"


@pytest.mark.slow
def test_the_fields_of_an_upload_are_those_of_the_sidebar(checkpoints):
    app = open_app()
    for fields in (app.number_input, app.text_input):
        named = {str(field.key): (field.label, field.placeholder, field.help) for field in fields}
        for key in named.keys() & {"heads", "arch", "patch_grid"}:
            assert named[f"weights_0_{key}"] == named[key]


def pickle_bomb(folder: Path) -> bytes:
    file = io.BytesIO()
    torch.save({"model": RunsCode(folder / "was-run")}, file)
    return file.getvalue()


def other_zip(folder: Path) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("letter.txt", "hello")
    return file.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("make", [pickle_bomb, other_zip, lambda folder: b"", lambda folder: b"\xff" * 64])
def test_anything_else_is_explained_and_leaves_no_trace(checkpoints, tmp_path_factory, make):
    outside = tmp_path_factory.mktemp("outside")
    app = upload("evil.pth", make(outside))
    assert not app.exception
    assert len(sentences(app)) == 1
    assert app.session_state["choice"].model.source.source == TINY
    assert [path.name for path in checkpoints.iterdir()] == ["tiny.safetensors"]
    assert not list(outside.iterdir())


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("model.pth", "model.pth"),
        ("../../etc/cron.pth", "cron.pth"),
        ("..pth", "weights.pth"),
        (".hidden.pth", "hidden.pth"),
        ("a b;c.pth", "a-b-c.pth"),
        ("MODEL.PTH", "MODEL.pth"),
        ("ж" * 200 + ".pth", "ж" * 75 + ".pth"),
        ("", "weights.pth"),
    ],
)
def test_names_lose_folders_dots_in_front_and_odd_characters(given, kept):
    assert safe_name(given) == kept


@pytest.mark.slow
def test_a_folder_that_takes_no_file_is_one_sentence(checkpoints, tmp_path_factory, monkeypatch):
    content = save_weights(tmp_path_factory.mktemp("theirs"), seed=1).read_bytes()
    (checkpoints / "file").touch()
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(checkpoints / "file" / "folder"))
    app = upload("mine.safetensors", content)
    assert not app.exception
    assert any("The file can't be kept in" in sentence for sentence in sentences(app))


@pytest.mark.slow
def test_above_the_limit_the_oldest_uploads_go_but_nothing_else(checkpoints, tmp_path_factory, monkeypatch):
    content = save_weights(tmp_path_factory.mktemp("theirs"), seed=1).read_bytes()
    own = checkpoints / "tiny.safetensors"
    monkeypatch.setattr("explorer.ui.model_picker.LIMIT", 2 * len(content) + 10)
    for number, name in enumerate("abc"):
        os.utime(own, (1, 1))
        app = upload(f"{name}.safetensors", content)
        assert app.session_state["choice"].model.source.source == f"checkpoints/{name}.safetensors"
        os.utime(checkpoints / f"{name}.safetensors", (number + 2, number + 2))
    assert {path.name for path in checkpoints.glob("*.safetensors")} == {own.name, "b.safetensors", "c.safetensors"}
