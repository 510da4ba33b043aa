"""Step Data of the Fine-tune page without a browser: what it reads, keeps, forgets and says."""

import io
import os
import signal
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from explorer.data.datasets import read_dataset
from explorer.errors import DataError
from explorer.models.source import ModelSource
from explorer.training.plan import Plan
from explorer.training.runs.folder import Options, write_config
from explorer.ui.attention_pictures import attention_picture, class_picture
from explorer.ui.changes import sha_of
from explorer.ui.datasets import data_suffix, data_title, keep_data, thumbnail, uploads_folder
from explorer.ui.finetune.data import read_data
from tests.digits import digit_files, digits_zip
from tests.pages.test_finetune import make_run, words
from tests.tiny import tiny_model
from tests.zips import picture, write_folder, write_zip


@pytest.fixture
def runs(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("EXPLORER_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.mark.slow
def test_the_report_says_sizes_and_what_was_passed_over_in_plain_words(tmp_path):
    files = {**digit_files(2), "zero/tall.png": picture(9, size=(16, 90)), "notes.txt": b"", ".x": b"", ".y": b""}
    write_folder(tmp_path / "set", files)
    app = AppTest.from_function(_show_report, args=(str(tmp_path / "set"),), default_timeout=60).run()
    assert "Other files: 2 system files, 1 file that isn't an image." in [caption.value for caption in app.caption]
    assert "Median size 64 × 64 pixels; sides from 16 to 90 pixels." in [caption.value for caption in app.caption]


def _show_report(path: str) -> None:
    from explorer.data.datasets import read_dataset
    from explorer.ui.datasets import show_report

    show_report(read_dataset(path), "set")


def test_report_counts_copies_across_classes_and_splits(tmp_path):
    same, other = picture(1), picture(2)
    write_folder(
        tmp_path / "set",
        {
            "train/ants/1.png": same, "train/ants/2.png": picture(3), "train/bees/1.png": other,
            "train/bees/2.png": same, "val/ants/1.png": picture(4), "val/bees/1.png": other,
        },
    )  # fmt: skip
    assert read_dataset(tmp_path / "set").copies() == "2 groups, 1 across classes, 1 across train and validation"


def test_thumbnail_of_a_file_that_is_gone_is_left_out(tmp_path):
    assert thumbnail(str(tmp_path / "gone.png")) is None


def test_what_is_shown_of_a_file_changes_with_it(tmp_path):
    path, model, seen = tmp_path / "0.png", tiny_model(), []
    for number in (1, 2):  # as where a run is deleted and another one gets its name
        path.unlink(missing_ok=True)
        path.write_bytes(picture(number))
        place = str(path)
        seen.append((thumbnail(place), sha_of(place), *(
            show(model, place, *target).tobytes() for show, target in ((attention_picture, ()), (class_picture, (0,)))
        )))  # fmt: skip
    assert all(before and before != after for before, after in zip(*seen, strict=True))


DATA = """
from explorer.ui.finetune.data import choose_data, dataset_in_use
from explorer.ui.messages import show_errors
import streamlit as st
with show_errors():
    choose_data()
with show_errors():
    dataset = dataset_in_use()
    st.text(f"{dataset.title}: {len(dataset.report.items)}" if dataset else "none")
"""


def data_step(**address: str) -> AppTest:
    app = AppTest.from_string(DATA, default_timeout=60)
    app.query_params.update(address)
    app.run()
    assert not app.exception
    return app


def upload(path: Path, title: str) -> str:
    with path.open("rb") as stream:
        return keep_data(stream, data_suffix(title)).name


@pytest.mark.slow
def test_a_data_set_is_found_again_by_the_address_and_in_a_list(runs, tmp_path):
    name = upload(digits_zip(tmp_path / "set", 3), "My digits.zip")
    app = data_step()
    assert words(app.text) == "none"
    app.segmented_control(key="finetune_source").set_value("Used before").run()
    assert app.selectbox(key="finetune_before").options == ["My-digits.zip"]
    app.button(key="use_before").click().run()
    assert words(app.text) == "My-digits.zip: 9" and app.query_params["data"] == name
    assert words(data_step(data=name).text) == "My-digits.zip: 9", "a reload"
    assert [data_title(path) for path in (f"/a/{name}", "b/digits-100", "c/pets.zip")] == [
        "My-digits.zip", "digits-100", "pets.zip",
    ]  # fmt: skip
    (uploads_folder() / name).unlink()
    app.run()
    assert "no longer on the server" in words(app.error)


@pytest.mark.slow
def test_a_click_while_a_data_set_is_read_delays_it_and_loses_nothing(runs, tmp_path, monkeypatch):
    upload(digits_zip(tmp_path / "set", 2), "digits.zip")
    runs_of_the_page = []

    def read(path: Path, title: str):
        runs_of_the_page.append(title)
        if len(runs_of_the_page) == 1:
            st.rerun()  # as Streamlit does at the next report of progress, once something was clicked
        return read_data(path, title)

    monkeypatch.setattr("explorer.ui.finetune.data.read_data", read)
    app = data_step()
    app.segmented_control(key="finetune_source").set_value("Used before").run()
    app.button(key="use_before").click().run()
    assert len(runs_of_the_page) > 1 and words(app.text) == "digits.zip: 6" and not app.error


@pytest.mark.slow
def test_of_two_zips_of_one_name_the_one_that_is_shown_is_used(runs, tmp_path):
    older = upload(digits_zip(tmp_path / "older", 2), "digits.zip")
    os.utime(uploads_folder() / older, (1_700_000_000, 1_700_000_000))
    newer = upload(digits_zip(tmp_path / "newer", 3), "digits.zip")
    app = data_step()
    app.segmented_control(key="finetune_source").set_value("Used before").run()
    assert len(set(app.selectbox(key="finetune_before").options)) == 2
    for name, images in ((newer, 9), (older, 6)):
        app.selectbox(key="finetune_before").set_value(name).run()
        app.button(key="use_before").click().run()
        assert words(app.text) == f"digits.zip: {images}" and app.query_params["data"] == name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["0123456789abcdef-gone.zip", "../../etc", "server/../x", "/etc", "digits-7/.."])
def test_an_address_that_names_no_data_set_is_one_sentence(runs, name, tmp_path, monkeypatch):
    monkeypatch.setenv("EXPLORER_DATA", str(tmp_path))
    app = data_step(data=name)
    assert words(app.text) == "none" and len(app.error) == 1 and "data" not in app.query_params


@pytest.mark.slow
def test_of_a_refused_data_set_nothing_is_kept_and_the_one_in_use_stays(runs, tmp_path):
    good = upload(digits_zip(tmp_path / "good", 2), "good.zip")
    app = data_step(data=good)
    kept = set(uploads_folder().iterdir())
    one_class = upload(digits_zip(tmp_path / "bad", 3, ("zero",)), "bad.zip")
    app.segmented_control(key="finetune_source").set_value("Used before").run()
    app.selectbox(key="finetune_before").set_value(one_class).run()
    app.button(key="use_before").click().run()
    assert "'bad.zip' has only one class, 'zero'" in words(app.error).replace("\\", "")
    assert words(app.text) == "good.zip: 6"
    assert set(uploads_folder().iterdir()) == kept


@pytest.mark.parametrize(
    "files, sentence",
    [
        ({"a/1.txt": b"x"}, "'my.zip' holds no images, only files ending in .txt; "),
        ({"a/1.png": picture(1), "a/b.zip": b"PK"}, "'my.zip' was refused because 'a/b.zip' is an archive"),
        ({"a/1.png": picture(1), "b/1.png": picture(2), "b/2.png": picture(3)}, "Class 'a' of 'my.zip' has only one"),
    ],
)
def test_what_is_wrong_with_a_zip_is_said_by_its_name(runs, tmp_path, files, sentence):
    with pytest.raises(DataError, match=f"^{sentence}"):
        read_data(write_zip(tmp_path / "0123456789abcdef.zip", files), "my.zip")


def test_a_disk_that_is_full_is_one_sentence_and_leaves_no_half_file(runs, tmp_path):
    resource = pytest.importorskip("resource", reason="limits on a file's size are Unix's")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        with pytest.raises(DataError, match=r"can't be kept on disk \(File too large\)"):
            keep_data(io.BytesIO(bytes(3_000_000)), ".zip")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert not list(uploads_folder().iterdir())


def test_uploads_are_named_by_content_and_the_oldest_go_but_not_what_a_run_reads(runs, tmp_path, monkeypatch):
    paths = []
    for number, content in enumerate((b"a" * 10, b"b" * 10, b"c" * 10)):
        file = tmp_path / "upload"
        file.write_bytes(content)
        with file.open("rb") as stream:
            paths.append(keep_data(stream, ".zip"))
        os.utime(paths[-1], (number, number))
    with (tmp_path / "upload").open("rb") as stream:
        assert keep_data(stream, ".zip") == paths[2]
    folder = make_run(runs, "reading", status="queued", place=1)
    write_config(folder, Options(str(paths[0]), ModelSource("bundled"), "x"), Plan().resolved())
    monkeypatch.setattr("explorer.ui.datasets.LIMIT", 15)
    with (tmp_path / "upload").open("rb") as stream:
        keep_data(stream, ".zip")
    assert [path.exists() for path in paths] == [True, False, True]
    assert not list(uploads_folder().glob(".part-*"))
