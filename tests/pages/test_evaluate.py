"""The Evaluate page without a browser: what it makes of images, zips and models."""

import csv
import hashlib
import io
import json
import shutil
from dataclasses import replace

import pytest
import streamlit as st
from streamlit.proto.Common_pb2 import FileURLs
from streamlit.runtime.uploaded_file_manager import UploadedFile, UploadedFileRec
from streamlit.testing.v1 import AppTest

from explorer import paths
from explorer.errors import DataError, ModelError
from explorer.training.checkpoints import SEEN
from explorer.ui.datasets import data_suffix, keep_data, left_out_line, read_data, uploads_folder
from explorer.ui.evaluate.data import (
    GONE,
    Given,
    as_csv,
    checkpoints_with_classes,
    class_names,
    evaluated,
    keep,
    recall,
    remember,
    zips_before,
)
from explorer.ui.evaluate.result import counts_line, seen_line
from explorer.ui.view_settings import DEFAULTS, default_layer
from tests.app import open_app, sentences
from tests.digits import NAMES, digit_files, digits_zip
from tests.tiny import tiny_model
from tests.zips import picture, write_zip


def upload(name: str, content: bytes) -> UploadedFile:
    """What Streamlit's uploader gives."""
    return UploadedFile(UploadedFileRec(name, name, "", content), FileURLs())


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPLORER_RUNS", str(tmp_path / "runs"))


@pytest.fixture
def model():
    return replace(tiny_model(num_classes=3), class_names=list(NAMES))


def test_images_are_predicted_and_broken_ones_named_as_the_person_knows_them(model):
    given = keep([upload("a.png", picture(1)), upload("broken.png", b"no image"), upload("a.png", picture(2))])
    assert [name for name, _ in given.images] == ["a.png", "broken.png", "a.png (2)"]
    evaluation, _ = evaluated(model, given)
    assert [row["name"] for row in evaluation.rows] == ["a.png", "a.png (2)"]
    assert evaluation.metrics is None
    assert list(evaluation.found.rejected) == ["broken.png"]
    assert uploads_folder().parent.name == "runs"
    rows = list(csv.DictReader(io.StringIO(as_csv(evaluation).decode())))
    assert [row["image"] for row in rows] == ["a.png", "a.png (2)"]
    assert abs(sum(float(rows[0][name]) for name in NAMES) - 1) < 1e-4
    assert rows[0]["predicted"] == evaluation.rows[0]["predicted"]


def test_a_zip_of_class_folders_is_scored_with_the_worst_mistakes_first(model, tmp_path):
    path = digits_zip(tmp_path / "digits.zip", per_class=4)
    evaluation, _ = evaluated(model, Given(zip=("digits.zip", path)))
    assert evaluation.metrics
    right = [row["actual"] == row["predicted"] for row in evaluation.rows]
    assert evaluation.metrics["accuracy"] == pytest.approx(sum(right) / 12)
    losses = [row["loss"] for row in evaluation.rows]
    assert losses == sorted(losses, reverse=True)
    rows = list(csv.DictReader(io.StringIO(as_csv(evaluation).decode())))
    assert {row["actual"] for row in rows} == set(NAMES)


def test_a_folder_that_is_no_class_of_the_model_is_named_and_predicted_only(model, tmp_path):
    path = digits_zip(tmp_path / "other.zip", per_class=1, names=("zero", "zebra"))
    evaluation, report = evaluated(model, Given(zip=("other.zip", path)))
    assert [row["actual"] for row in evaluation.rows] == ["zero", ""]
    assert "the folder 'zebra' (1)" in evaluation.notes[0]
    assert report and report.class_names == ("zebra", "zero")
    rows = list(csv.DictReader(io.StringIO(as_csv(evaluation).decode())))
    assert {row["image"].split("/")[0]: row["actual"] for row in rows} == {"zero": "zero", "zebra": ""}


@pytest.mark.slow
@pytest.mark.usefixtures("checkpoints")
def test_for_unknown_classes_the_checkpoint_that_knows_them_is_named(tmp_path):
    for name, labels in (("animals", ["zebra", "ant"]), ("digits", list(NAMES)), ("zebra", ["zebra"])):
        folder = paths.checkpoints() / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"architecture": "test_vit", "label_names": labels}))
    (paths.checkpoints() / "damaged").mkdir()
    (paths.checkpoints() / "damaged" / "config.json").write_text("{")
    path = digits_zip(tmp_path / "other.zip", per_class=1, names=("ant", "zebra"))
    app = open_app()
    app.session_state["evaluate_given"] = Given(zip=("other.zip", path))
    app.switch_page("../../../pages/evaluate.py").run()
    (note,) = app.info
    assert "predicted but not scored" in note.value
    assert note.value.endswith(" To score them, pick **animals** in the sidebar.")
    assert checkpoints_with_classes(["one"]) == ["digits"]
    assert checkpoints_with_classes(["ox"]) == checkpoints_with_classes([]) == []


def _chooser() -> None:
    import streamlit as st

    from explorer.ui.evaluate.data import choose_images

    given = choose_images()
    st.text(given.title if given else "none")


@pytest.mark.slow
def test_a_click_while_a_zip_is_read_delays_it_and_loses_nothing(tmp_path, monkeypatch):
    with digits_zip(tmp_path / "digits.zip", per_class=1).open("rb") as file:
        keep_data(file, data_suffix("digits.zip"))
    read = []

    def interrupted(path, title, to_train):
        read.append(title)
        if len(read) == 1:
            st.rerun()  # as Streamlit does at the next report of progress, once something was clicked
        return read_data(path, title, to_train)

    monkeypatch.setattr("explorer.ui.evaluate.data.read_data", interrupted)
    app = AppTest.from_function(_chooser, default_timeout=60).run()
    app.segmented_control(key="evaluate_source").set_value("Zip used before").run()
    app.button(key="use_evaluate").click().run()
    assert not app.exception and len(read) > 1 and app.text[0].value == "digits.zip"


def test_a_zip_of_images_alone_is_predicted(model, tmp_path):
    path = write_zip(tmp_path / "flat.zip", {"1.png": picture(1), "2.png": b"no image"})
    evaluation, report = evaluated(model, Given(zip=("flat.zip", path)))
    assert evaluation.metrics is None and [row["name"] for row in evaluation.rows] == ["1.png"]
    assert report and [entry.name for entry in report.rejected] == ["2.png"]


def test_a_zip_without_a_good_image_is_one_sentence(model, tmp_path):
    path = write_zip(tmp_path / "bad.zip", {"a/1.png": b"no image", "a/2.png": b"none"})
    with pytest.raises(DataError, match=r"None of the 2 images in 'my.zip' can be used; 'a/1.png': The image isn't"):
        evaluated(model, Given(zip=("my.zip", path)))


def test_the_same_zip_sent_again_is_not_unpacked_again_but_one_whose_images_went_is(model, tmp_path):
    content = digits_zip(tmp_path / "digits.zip", per_class=2).read_bytes()
    for number in range(3):
        evaluated(model, keep([upload("digits.zip", content)]))
        (unpacked,) = uploads_folder().glob("*.data")
        assert len(list(unpacked.rglob("*.png"))) == len(list(unpacked.rglob("*.jpg"))) == 6
        if number:
            shutil.rmtree(unpacked)


def test_of_a_hostile_zip_nothing_is_kept(model):
    evil = write_zip(uploads_folder() / "evil.zip", {**digit_files(2), "../up.png": b"x"})
    with pytest.raises(DataError, match=r"leads out of the zip"):
        evaluated(model, Given(zip=("evil.zip", evil)))
    assert not list(uploads_folder().iterdir())


def test_uploads_are_found_again_by_name_until_they_are_gone():
    photos = keep([upload("Ä b.png", picture(1)), upload("c.png", picture(2))])
    archive = keep([upload("été.zip", b"PK")])
    for given in (photos, archive):
        remember(given)
        assert recall(given.name) == given
    assert zips_before() == {archive.files[0][1].name: "été.zip"}
    archive.files[0][1].unlink()
    assert zips_before() == {}
    for name in (archive.name, "0" * 16, "../" + photos.name, ""):
        with pytest.raises(DataError, match=GONE):
            recall(name)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\x00", b"[" * 100_000, b'{"zip": 1, "files": [["a", "\\u0000"]]}', b"null"]
)
def test_a_damaged_list_of_uploads_is_gone(content):
    (uploads_folder() / "0123456789abcdef.given").write_bytes(content)
    with pytest.raises(DataError, match=GONE):
        recall("0123456789abcdef")


def test_what_was_evaluated_is_counted(model, tmp_path):
    path = digits_zip(tmp_path / "other.zip", per_class=1, names=("zero", "zebra"))
    assert counts_line(*evaluated(model, Given(zip=("other.zip", path)))) == "Evaluated: 2 images, 1 of them scored."
    flat = write_zip(tmp_path / "flat.zip", {"1.png": picture(1), "2.png": b"no image"})
    line = counts_line(*evaluated(model, Given(zip=("flat.zip", flat))))
    assert line == "Evaluated: 1 image, none of them scored; 1 left out."
    photos = keep([upload("a.png", picture(1)), upload("broken.png", b"no image")])
    assert counts_line(*evaluated(model, photos)) == "Evaluated: 1 image; 1 left out."
    sides = {"train/one/1.png": picture(1), "train/two/1.png": picture(2), "val/one/1.png": picture(3)}
    both = write_zip(tmp_path / "both.zip", {**sides, "val/two/1.png": picture(4)})
    line = counts_line(*evaluated(model, Given(zip=("both.zip", both))))
    assert line.endswith("only the validation side counts, 2 of 4 images.")


def test_what_is_wrong_with_a_file_is_said_once():
    assert left_out_line("a.png", "'a.png' is empty.") == r"**a.png** is empty."
    assert left_out_line("b/a.png", "The image is empty.") == "**b/a.png**: The image is empty."


def test_images_of_the_training_and_validation_are_counted_in_a_warning(model, tmp_path):
    shas = {name: hashlib.sha256(picture(number)).hexdigest() for number, name in enumerate("abc")}
    content = {"train": [shas["a"][:16]], "val": [shas["b"][:16], shas["a"][:16]]}
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / SEEN).write_text(json.dumps(content))
    source = str(tmp_path / "made")
    given = keep([upload(f"{name}.png", picture(number)) for number, name in enumerate("abc")])
    line = seen_line(source, *evaluated(model, given))
    assert line.startswith("The model knows 2 of these 3 images already: 1 in its training and 1 in its validation.")
    folders = write_zip(tmp_path / "x.zip", {"one/a.png": picture(0), "two/c.png": picture(2)})
    line = seen_line(source, *evaluated(model, Given(zip=("x.zip", folders))))
    assert line.startswith("The model knows 1 of these 2 images already: 1 in its training.")
    assert seen_line(str(tmp_path / "none"), *evaluated(model, given)) == ""


@pytest.mark.slow
@pytest.mark.usefixtures("checkpoints")
def test_an_address_whose_images_are_gone_says_so_and_is_mended():
    app = open_app()
    app.query_params["images"] = "0123456789abcdef"
    app.switch_page("../../../pages/evaluate.py").run()
    assert sentences(app) == [GONE]
    assert "images" not in app.query_params


def test_a_strangers_file_name_names_no_file_here():
    given = keep([upload("a.b/../../c.PNG", picture(1)), upload("x." + "y" * 300, b"no image")])
    assert [path.suffix for _, path in given.images] == [".png", ".file"]
    assert all(path.parent == uploads_folder() for _, path in given.images)


def test_a_zip_beside_images_is_refused():
    with pytest.raises(DataError, match="either one zip or single images"):
        keep([upload("a.png", picture(1)), upload("b.zip", b"")])


def test_a_model_without_classifier_is_one_sentence():
    with pytest.raises(ModelError, match="has no classifier"):
        class_names(tiny_model(num_classes=0))


def test_an_upload_that_went_away_is_one_sentence(model, tmp_path):
    with pytest.raises(DataError, match=r"'mine.zip' is no longer on the server"):
        evaluated(model, Given(zip=("mine.zip", tmp_path / "gone.zip")))


@pytest.mark.slow
@pytest.mark.usefixtures("checkpoints")
def test_open_in_attention_shows_the_map_that_was_clicked(tmp_path):
    (tmp_path / "a.png").write_bytes(picture(1))
    look = {"colormap": "grey", "resample": "nearest", "scale": "shared", "opacity": "0.2", "mass": "0.5", "grid": "1"}
    place = {"query": "1,2", "layer": "0", "head": "1", "tab": "Share", "map": "rollout", "hide_artefacts": "1"}
    app = open_app("attention", size="48", fit="keep", **place, **look)
    before = app.session_state["canvas_settings"]["query"], app.session_state["layer"]
    assert before == ("1,2", 0) and app.session_state["tab"] == "Share"
    assert (app.session_state["choice"].size, app.session_state["choice"].fit) == (48, "keep")
    assert app.session_state["canvas_settings"]["scale"] == "shared" and app.session_state["map"] == "rollout"
    app.session_state["evaluate_given"] = Given(images=(("a.png", tmp_path / "a.png"),))
    app.switch_page("../../../pages/evaluate.py").run()
    app.button(key="open_row").click().run()
    assert not app.exception and not app.error
    model = app.session_state["choice"].model
    assert app.session_state["choice"].photo.title == "a.png"
    assert DEFAULTS.items() <= app.session_state["canvas_settings"].items()
    assert (app.session_state["choice"].size, app.session_state["choice"].fit) == (model.input_size, "crop")
    assert (app.session_state["layer"], app.session_state["head"]) == (default_layer(model), "mean")
    assert app.session_state["tab"] == "Rollout"
    assert not {"size", "fit", *place, *look} & set(app.query_params)
