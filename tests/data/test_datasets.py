"""Data sets are read whole: each image opened, each file accounted for, each bad data set refused by a sentence."""

import hashlib
import os
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from explorer.data import sources
from explorer.data.datasets import read_dataset
from explorer.data.images import open_image
from explorer.data.splits import assign_splits
from explorer.errors import DataError, ImageError
from tests.zips import patch_headers, picture, pictures, write_folder, write_zip

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@pytest.fixture(params=["folder", "zip"])
def make(request, tmp_path):
    """The same files as a folder or as a zip."""
    if request.param == "folder":
        return lambda files: write_folder(tmp_path / "data", files)
    return lambda files: write_zip(tmp_path / "data.zip", files)


def test_counts_labels_and_facts(make):
    files = pictures({"zebras": 3, "Cats": 2, "ants": 4}, root="animals/")
    report = read_dataset(make(files))
    assert report.class_names == ("Cats", "ants", "zebras")
    assert report.counts() == {"Cats": 2, "ants": 4, "zebras": 3}
    assert report.rejected == () and report.passed_over == {} and report.duplicates == () and not report.has_split
    for item in report.items:
        assert item.sha == hashlib.sha256(files[item.name]).hexdigest()
        assert report.class_names[item.label] == item.name.split("/")[1]
        assert (item.width, item.height) == (24, 16) and len(item.dhash) == 16


def test_folder_is_referenced_in_place(tmp_path):
    folder = write_folder(tmp_path / "data", pictures({"cats": 2, "dogs": 2}))
    out = tmp_path / "out"
    report = read_dataset(folder, out)
    assert [item.file for item in report.items] == [folder / item.name for item in report.items]
    assert not out.exists()


def test_zip_is_written_under_names_of_our_own(tmp_path):
    odd = {
        "cats/ nul .JPG": picture(1, "JPEG"),
        "cats/;rm -rf.png": picture(2),
        "犬/ü.PNG": picture(3),
        "犬/x.gif": picture(4, "GIF"),
    }
    path = write_zip(tmp_path / "data.zip", {**odd, "cats/broken.jpg": b"no image"})
    report = read_dataset(path, tmp_path / "out")
    written = sorted(file.relative_to(tmp_path / "out").as_posix() for file in (tmp_path / "out").rglob("*.*"))
    assert written == ["0/000000.jpg", "0/000001.png", "1/000003.gif", "1/000004.png"], "the broken one is not kept"
    for item in report.items:
        assert item.file.read_bytes() == odd[item.name]
    assert report.class_names == ("cats", "犬")


def test_zip_without_out_is_only_looked_at(tmp_path):
    path = write_zip(tmp_path / "data.zip", pictures({"cats": 2, "dogs": 2}))
    report = read_dataset(path)
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(DataError, match="read the data set again with out=FOLDER"):
        _ = report.items[0].file


def test_a_zip_and_its_folder_give_the_same_items_and_split(tmp_path):
    files = pictures({"cats": 9, "dogs": 9})
    reports = [
        read_dataset(write_folder(tmp_path / "data", files)),
        read_dataset(write_zip(tmp_path / "data.zip", dict(reversed(files.items())))),
    ]
    first, second = ([(i.name, i.label, i.split, i.sha) for i in assign_splits(report).items] for report in reports)
    assert first == second


def test_given_split_is_used(make):
    report = read_dataset(make(pictures({"train/cats": 3, "train/dogs": 2, "val/cats": 1, "val/dogs": 2}, "pets/")))
    assert report.has_split
    assert report.counts("train") == {"cats": 3, "dogs": 2} and report.counts("val") == {"cats": 1, "dogs": 2}


def test_broken_images_are_listed_with_their_reason(make):
    files = {
        **pictures({"cats": 2, "dogs": 2}),
        "cats/cut.jpg": picture(7, "JPEG")[:-60],
        "cats/text.png": b"hello",
        "dogs/empty.jpg": b"",
        "dogs/phone.heic": b"\x00\x00\x00\x18ftypheic" + bytes(30),
        "dogs/huge.ppm": b"P6 20000 20000 255\n",
        "dogs/renamed.jpg": picture(8, "PNG"),
    }
    report = read_dataset(make(files))
    reasons = {entry.name: entry.reason for entry in report.rejected}
    words = {"cats/cut.jpg": "damaged", "cats/text.png": "isn't an image", "dogs/empty.jpg": "empty"}
    words |= {"dogs/phone.heic": "HEIC", "dogs/huge.ppm": "100 million"}
    assert reasons.keys() == words.keys()
    assert all(words[name] in reason for name, reason in reasons.items())
    assert report.counts() == {"cats": 2, "dogs": 3}, "a PNG called .jpg is a fine image"


def test_every_file_is_accounted_for(make):
    extras = {"__MACOSX/cats/._0.png": b"x", "cats/Thumbs.db": b"x", ".hidden/a.png": b"x", "notes.txt": b"x"}
    files = {**pictures({"cats": 3, "dogs": 3}), **extras, "cover.png": picture(99), "dogs/bad.png": b"x"}
    report = read_dataset(make(files))
    assert len(report.items) + len(report.rejected) + sum(report.passed_over.values()) == len(files)
    assert report.passed_over == {
        "system files": 3,
        "files that aren't images": 1,
        "images outside the class folders used": 1,
    }


def test_sizes_are_of_the_upright_image(tmp_path):
    exif = Image.Exif()
    exif[0x112] = 6
    files = {**pictures({"cats": 2, "dogs": 2}), "cats/turned.jpg": picture(9, "JPEG", (40, 10), exif=exif)}
    report = read_dataset(write_folder(tmp_path, files))
    turned = next(item for item in report.items if item.name == "cats/turned.jpg")
    assert (turned.width, turned.height) == (10, 40) == open_image(turned.file).size
    assert report.sizes() == {"width": (10, 24, 24), "height": (16, 16, 40)}


@pytest.mark.parametrize(
    "files,words",
    [
        (pictures({"cats": 3}), "only one class, 'cats'"),
        (pictures({"cats": 3}, "a/b/"), "only one class, 'cats'"),
        (pictures({"cats": 3, "dogs": 1}), "Class 'dogs' of '.*' has only one image"),
        (
            {**pictures({"cats": 3}), "dogs/1.png": b"x", "dogs/2.png": b"y"},
            "Class 'dogs' of '.*' has no image.*2 rejected",
        ),
        (pictures({"train/a": 2, "train/b": 2, "val/a": 1, "val/c": 1}), "Class 'c' of '.*' is among the validation"),
        (
            {**pictures({"train/a": 2, "val/a": 2, "val/b": 2}), "train/b/1.png": b"x"},
            "Class 'b' of '.*' has no train image",
        ),
        ({**pictures({"train/a": 2, "train/b": 2}), "val/a/1.png": b"x"}, "No validation image of '.*' can be used"),
        ({"readme.txt": b"hello"}, "holds no images"),
        ({"1.png": picture(1), "2.png": picture(2)}, "2 images but no class folders"),
    ],
)
def test_data_sets_that_cannot_be_used(make, files, words):
    with pytest.raises(DataError, match=words) as caught:
        read_dataset(make(files))
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_copies_across_train_and_val_of_a_zip_are_reported(tmp_path):
    files = pictures({"train/cats": 3, "train/dogs": 3, "val/cats": 2, "val/dogs": 2})
    files["val/dogs/copy.png"] = files["train/cats/0.png"]
    (group,) = read_dataset(write_zip(tmp_path / "data.zip", files)).duplicates
    assert group.kind == "exact" and group.across_splits and group.across_classes


def test_unicode_names_in_a_zip(tmp_path):
    files = pictures({"Köter": 2, "猫": 2, "Ко\u0301шка": 2})
    report = read_dataset(write_zip(tmp_path / "data.zip", files), tmp_path / "out")
    assert set(report.class_names) == {"Köter", "猫", "Ко\u0301шка"}
    assert len(list((tmp_path / "out").rglob("*.png"))) == 6


@pytest.mark.parametrize("name", ["../evil.png", "/evil.png", "cats/inner.zip"])
def test_hostile_zip_writes_nothing(tmp_path, name):
    path = write_zip(tmp_path / "data.zip", {**pictures({"cats": 2, "dogs": 2}), name: picture(9)})
    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        read_dataset(path, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [path]


def test_a_zip_with_a_lying_and_a_damaged_entry_keeps_the_rest(tmp_path):
    path = write_zip(tmp_path / "data.zip", pictures({"cats": 3, "dogs": 3}))
    patch_headers(path, "cats/1.png", "size", 20)
    report = read_dataset(path)
    assert [entry.name for entry in report.rejected] == ["cats/1.png"]
    assert "damaged inside the zip" in report.rejected[0].reason
    assert report.counts() == {"cats": 2, "dogs": 3}


def test_zip_of_zeros_that_are_no_image(tmp_path):
    files = {**pictures({"cats": 2, "dogs": 2}), "cats/zeros.png": bytes(30_000_000)}
    with pytest.raises(DataError, match=r"'cats/zeros\.png' unpacks to more than 100 times"):
        read_dataset(write_zip(tmp_path / "data.zip", files), tmp_path / "out")


def test_missing_unreadable_and_unwritable_places(tmp_path):
    with pytest.raises(DataError, match=r"no zip or folder at .*nowhere\.zip"):
        read_dataset(tmp_path / "nowhere.zip")
    (tmp_path / "text.zip").write_text("hello")
    with pytest.raises(DataError, match="isn't a zip file"):
        read_dataset(tmp_path / "text.zip")
    path = write_zip(tmp_path / "data.zip", pictures({"cats": 2, "dogs": 2}))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="can't be written to"):
        read_dataset(path, tmp_path / "file")


def test_links_in_a_folder(tmp_path):
    folder = write_folder(tmp_path / "data", pictures({"cats": 2, "dogs": 2}))
    (folder / "more").symlink_to(write_folder(tmp_path / "other", pictures({"cows": 2}, first_seed=50)))
    (folder / "cats" / "gone.png").symlink_to(tmp_path / "gone.png")
    report = read_dataset(folder)
    assert report.passed_over == {"linked folders": 1} and "Linked folders aren't followed: '" in report.notes[0]
    assert [entry.name for entry in report.rejected] == ["cats/gone.png"]
    assert "can't be read" in report.rejected[0].reason


def test_progress_counts_every_image(tmp_path):
    calls: list[tuple[int, int]] = []
    read_dataset(
        write_zip(tmp_path / "data.zip", pictures({"a": 4, "b": 5})), progress=lambda *call: calls.append(call)
    )
    assert calls == [(done, 9) for done in range(1, 10)]


def test_memory_holds_few_images_at_a_time(tmp_path, monkeypatch):
    """Read images may wait for a worker, but only as many as there are workers and one more."""
    import explorer.data.datasets as datasets

    waiting, most = 0, 0
    decode, read = datasets.open_image, zipfile.ZipFile.open

    def counted_read(self, *args, **kwargs):
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        return read(self, *args, **kwargs)

    def counted_decode(*args):
        nonlocal waiting
        result = decode(*args)
        waiting -= 1
        return result

    path = write_zip(tmp_path / "data.zip", pictures({"a": 40, "b": 40}))
    monkeypatch.setattr(datasets, "open_image", counted_decode)
    monkeypatch.setattr(zipfile.ZipFile, "open", counted_read)
    read_dataset(path)
    assert 1 < most <= 6


@pytest.mark.parametrize(
    "name,train,val",
    [
        ("hymenoptera", {"ants": 122, "bees": 121}, {"ants": 70, "bees": 83}),
        ("cifar10_subset", dict.fromkeys(CIFAR10_CLASSES, 100), dict.fromkeys(CIFAR10_CLASSES, 50)),
    ],
)
def test_real_zips_with_a_given_split(shared_data, name, train, val):
    report = read_dataset(shared_data / "datasets" / f"{name}.zip")
    assert report.has_split and report.rejected == () and report.passed_over == {}
    assert report.counts("train") == train and report.counts("val") == val


def test_real_zip_without_a_split(shared_data):
    report = assign_splits(read_dataset(shared_data / "datasets" / "shoe_sandal_boot.zip"), 0.2)
    assert report.counts("val") == {"Boot": 100, "Sandal": 100, "Shoe": 100}
    assert report.counts("train") == {"Boot": 400, "Sandal": 400, "Shoe": 400}


def test_real_zip_with_single_images(shared_data):
    with pytest.raises(DataError, match=r"Class 'n01440764' of '.*' has only one image"):
        read_dataset(shared_data / "datasets" / "imagenet_samples_800.zip")


@pytest.mark.parametrize("name,words", [("evil_traversal", r"'\.\./\.\./evil\.txt'"), ("zeros_50MB", "zip bombs")])
def test_real_hostile_zips(shared_data, tmp_path, name, words):
    with pytest.raises(DataError, match=words):
        read_dataset(shared_data / "odd_images" / "made_here" / f"{name}.zip", tmp_path)
    assert list(Path(tmp_path).iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes among its files")
def test_pipes_and_devices_among_the_photos_are_left_out_by_name(tmp_path, monkeypatch):
    """Reading the one would wait for ever, and the other never ends."""
    write_folder(tmp_path / "data", pictures({"ants": 2, "bees": 3}))
    os.mkfifo(tmp_path / "data/ants/pipe.png")
    (tmp_path / "data/ants/zero.png").symlink_to("/dev/zero")
    (tmp_path / "data/bees/folder.png").mkdir()
    monkeypatch.setattr(sources, "LARGEST", 10**4)
    (tmp_path / "data/bees/large.png").write_bytes(bytes(10**4 + 1))
    report = read_dataset(tmp_path / "data")
    assert report.counts() == {"ants": 2, "bees": 3}
    said = {Path(entry.name).name: entry.reason for entry in report.rejected}
    assert "pipe or a device" in said["pipe.png"] and "pipe or a device" in said["zero.png"]
    assert "larger than" in said["large.png"] and len(said) == 3
    for name in ("pipe.png", "zero.png"):
        with pytest.raises(ImageError, match=f"'{name}' is a pipe or a device; give an image file"):
            open_image(tmp_path / "data/ants" / name)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_folder_of_links_alone_says_so(tmp_path):
    write_folder(tmp_path / "real", pictures({"ants": 2, "bees": 2}))
    (tmp_path / "data").mkdir()
    for name in ("ants", "bees"):
        (tmp_path / "data" / name).symlink_to(tmp_path / "real" / name)
    with pytest.raises(DataError, match=r"holds no images; .* Linked folders aren't followed: 'ants' and 'bees'"):
        read_dataset(tmp_path / "data")
