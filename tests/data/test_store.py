"""A data set is read once: the page, the run and Evaluate share one report and one set of images."""

import io
import os
import shutil
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from explorer.data import images
from explorer.data.datasets import read_dataset
from explorer.data.store import find_stored, load_stored, read_once, stored_folder, stored_thumbnail
from explorer.errors import DataError, DiskError
from explorer.models.source import ModelSource
from explorer.training.examples import Examples, read_examples
from explorer.training.finetune import finetune
from explorer.training.plan import Plan
from explorer.training.runs.folder import RunFolder, State, create_run, new_options
from explorer.ui.datasets import data_place, data_suffix, keep_data, read_data, thumbnail, uploads_folder
from explorer.ui.evaluate.data import Given, evaluated
from tests.digits import NAMES, digits_zip
from tests.tiny import tiny_model
from tests.zips import pictures, write_folder, write_zip

PLAN = Plan(epochs=1, augmentation="none").resolved()


@pytest.fixture
def runs(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("EXPLORER_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture
def decoded(monkeypatch) -> Counter:
    """How often each picture, known by its size, was decoded by the one function that decodes files."""
    sizes, decode = Counter(), images.decode_rgb

    def counting(image: Image.Image) -> Image.Image:
        sizes[image.size] += 1
        return decode(image)

    monkeypatch.setattr(images, "decode_rgb", counting)
    return sizes


def sized_zip(path: Path, per_class: int = 4) -> Path:
    """Pictures of three classes, each of a size of its own, larger than a thumbnail."""
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(3 * per_class):
            file = io.BytesIO()
            Image.effect_noise((200 + number, 300), 60 + number).save(file, "PNG")
            archive.writestr(f"{NAMES[number % 3]}/{number}.png", file.getvalue())
    return path


def upload(path: Path, title: str) -> Path:
    with path.open("rb") as stream:
        return keep_data(stream, data_suffix(title))


def test_from_drop_to_checkpoint_each_photo_is_decoded_twice_and_once_more_on_evaluate(runs, tmp_path, decoded):
    path = upload(sized_zip(tmp_path / "a.zip"), "a.zip")
    report, stored = read_data(path, "a.zip"), data_place(path, "a.zip")
    for item in report.items:
        assert thumbnail(str(item.path))
    originals = Counter({size: n for size, n in decoded.items() if size[1] == 300})
    assert originals.total() == 12 and set(originals.values()) == {1}, "checked"
    run, base = tmp_path / "run", tiny_model(num_classes=3, size=32)
    folder, options = RunFolder(run), new_options(RunFolder(run), path, ModelSource("tiny"), stored=stored)
    create_run(folder, options, PLAN)
    folder.write_state(State("starting", epochs=1))  # as jobs.start does for the process that it starts
    result = finetune(path, base, PLAN, run, resume=True, progress=False)
    assert result.status == "finished"
    fitted = Counter({size: n for size, n in decoded.items() if size[1] == 300})
    first = Counter({tuple(Image.open(Examples.load(RunFolder(run), PLAN).train_images[0]).size): 1})
    assert fitted - originals - first == originals, "fed to the network; the first is looked at for its size besides"

    decoded.clear()
    model = replace(tiny_model(num_classes=3, size=32), class_names=list(NAMES))
    again = upload(tmp_path / "a.zip", "b.zip")
    evaluation, found = evaluated(model, Given(zip=("b.zip", again)))
    assert evaluation.metrics and found == report
    assert decoded == originals, "fed to the network only"
    assert again.stat().st_ino == path.stat().st_ino and len(list(uploads_folder().glob("*.data"))) == 1


def test_a_zip_seen_on_evaluate_first_is_not_read_again_to_train_on(runs, tmp_path, decoded):
    path = upload(sized_zip(tmp_path / "a.zip"), "a.zip")
    report = read_data(path, "a.zip", to_train=False)
    decoded.clear()
    assert read_data(path, "a.zip") is report and not decoded


def test_what_is_good_enough_to_evaluate_stays_when_it_is_refused_to_train_on(runs, tmp_path):
    path = upload(digits_zip(tmp_path / "one.zip", 2, names=("zero",)), "one.zip")
    read_data(path, "one.zip", to_train=False)
    for _ in range(2):
        with pytest.raises(DataError, match=r"'one\.zip' has only one class, 'zero'"):
            read_data(path, "one.zip")
    assert path.is_file() and read_data(path, "one.zip", to_train=False)


def test_a_run_has_files_of_its_own_and_outlives_the_upload(tmp_path):
    store = tmp_path / "store"
    path = sized_zip(tmp_path / "a.zip", 2)
    stored = stored_folder(path, store)
    before = read_once(path, stored)
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    read_examples(run, str(path), PLAN, lambda *_: None, stored)
    shutil.rmtree(store)
    examples = Examples.load(run, PLAN)
    assert [item.sha for item in examples.report.items] == [item.sha for item in before.items]
    assert all(run.images in file.parents and file.is_file() for file in examples.train_images + examples.val_images)


def test_where_no_links_can_be_made_the_images_are_copied(tmp_path, monkeypatch):
    def no_links(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", no_links)
    test_a_run_has_files_of_its_own_and_outlives_the_upload(tmp_path)


def test_a_report_can_be_trained_on_and_images_in_a_folder_of_ones_own_stay_there(tmp_path):
    data = write_folder(tmp_path / "data", pictures({"cats": 3, "dogs": 3}))
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    read_examples(run, "elsewhere", PLAN, lambda *_: None, read_dataset(data))
    assert all(data in file.parents for file in Examples.load(run, PLAN).train_images)
    assert finetune(read_dataset(data), tiny_model(), PLAN, tmp_path / "other", progress=False).status == "finished"


def test_what_changed_since_it_was_read_is_read_again(tmp_path):
    data, store = write_folder(tmp_path / "data", pictures({"cats": 3, "dogs": 3})), tmp_path / "store"
    stored = stored_folder(data, store)
    read_once(data, stored)
    assert find_stored(stored, data) == load_stored(stored) is not None
    write_folder(data, pictures({"dogs": 1}, first_seed=50))
    assert find_stored(stored, data) is None
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    read_examples(run, str(data), PLAN, lambda *_: None, stored)
    assert Examples.load(run, PLAN).report.items == tuple(
        replace(item, split=found.split)
        for item, found in zip(read_dataset(data).items, Examples.load(run, PLAN).report.items, strict=True)
    )


def test_a_report_whose_images_are_gone_is_not_used(tmp_path):
    path = sized_zip(tmp_path / "a.zip", 2)
    folder = stored_folder(path, tmp_path)
    image = read_once(path, folder).items[0].file
    assert stored_thumbnail(image)
    image.unlink()
    assert load_stored(folder) is None
    assert read_once(path, folder).items[0].file.is_file()


def test_of_refused_data_nothing_stays(tmp_path):
    bad = write_zip(tmp_path / "bad.zip", {**pictures({"a": 3}), "b/1.png": b"no image", "b/2.png": b"none"})
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    with pytest.raises(DataError, match=r"Class 'b' of '.*' has no image"):
        read_examples(run, str(bad), PLAN, lambda *_: None)
    assert not list(run.path.iterdir())
    with pytest.raises(DataError):
        read_dataset(bad, tmp_path / "out" / "images")
    assert not (tmp_path / "out" / "images").exists()
    with pytest.raises(DataError):
        read_once(bad, tmp_path / "store" / "x.data")
    assert not list((tmp_path / "store").iterdir())


def test_a_full_disk_takes_nothing_that_is_good(runs, tmp_path, monkeypatch):
    path = upload(sized_zip(tmp_path / "a.zip"), "a.zip")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(DiskError, match="No space left on device"):
            read_data(path, "a.zip")
    assert [entry.name for entry in uploads_folder().iterdir()] == [path.name]
    assert len(read_data(path, "a.zip").items) == 12
