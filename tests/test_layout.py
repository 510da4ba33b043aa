"""Classes are found from folders, however they are wrapped, and what is passed over is counted."""

import pytest

from explorer.data.layout import find_layout
from explorer.errors import DataError


def layout(*names):
    """{name: (class, split)} and the counts."""
    places, passed_over = find_layout(names)
    return {names[place.index]: (place.class_name, place.split) for place in places}, passed_over


@pytest.mark.parametrize("wrapping", ["", "pets/", "a/b/c/pets/"])
def test_class_folders_below_wrapping_folders(wrapping):
    found, passed_over = layout(f"{wrapping}cats/1.jpg", f"{wrapping}dogs/1.JPG", f"{wrapping}dogs/2.Png")
    assert found == {
        f"{wrapping}cats/1.jpg": ("cats", None),
        f"{wrapping}dogs/1.JPG": ("dogs", None),
        f"{wrapping}dogs/2.Png": ("dogs", None),
    }
    assert passed_over == {}


@pytest.mark.parametrize("val", ["val", "valid", "validation", "test", "VAL", "Validation"])
@pytest.mark.parametrize("wrapping", ["", "pets/"])
def test_train_beside_val_is_used_as_given(val, wrapping):
    names = [f"{wrapping}{side}/{name}/1.png" for side in ("train", val) for name in ("cats", "dogs")]
    found, _ = layout(*names)
    assert list(found.values()) == [("cats", "train"), ("dogs", "train"), ("cats", "val"), ("dogs", "val")]


def test_validation_comes_before_test_which_stays_untouched():
    sides = ("train", "test", "val")
    found, passed_over = layout(*(f"{side}/{name}/1.png" for side in sides for name in ("cats", "dogs")))
    assert {name.split("/")[0]: split for name, (_, split) in found.items()} == {"train": "train", "val": "val"}
    assert passed_over == {"images outside the class folders used": 2}


@pytest.mark.parametrize("unlabelled", ["test/1.png", "test/images/1.png"])
def test_unlabelled_test_images_are_no_validation(unlabelled):
    found, passed_over = layout("train/cats/1.png", "train/dogs/1.png", unlabelled)
    assert found == {"train/cats/1.png": ("cats", None), "train/dogs/1.png": ("dogs", None)}
    assert passed_over == {"images outside the class folders used": 1}


def test_train_and_val_may_be_wrapped_themselves():
    found, _ = layout("train/images/cats/1.png", "train/images/dogs/1.png", "val/cats/1.png", "val/dogs/2.png")
    assert set(found.values()) == {("cats", "train"), ("dogs", "train"), ("cats", "val"), ("dogs", "val")}


def test_train_alone_is_a_wrapping_folder():
    found, _ = layout("train/cats/1.png", "train/dogs/1.png")
    assert set(found.values()) == {("cats", None), ("dogs", None)}


def test_a_single_class_is_found_for_others_to_refuse():
    assert set(layout("a/b/cats/1.png", "a/b/cats/2.png")[0].values()) == {("cats", None)}


def test_folders_inside_a_class_belong_to_it():
    found, _ = layout("cats/2020/1.png", "cats/2021/summer/2.png", "cats/3.png", "dogs/1.png")
    assert [class_name for class_name, _ in found.values()] == ["cats", "cats", "cats", "dogs"]


def test_what_is_no_image_is_passed_over_and_counted():
    _, passed_over = layout(
        "pets/cats/1.png",
        "pets/dogs/1.png",
        "__MACOSX/pets/cats/._1.png",
        "pets/.DS_Store",
        "pets/cats/Thumbs.db",
        "pets/readme.txt",
        "pets/dogs/film.mp4",
        "pets/cats/noextension",
        "pets/overview.jpg",
    )
    assert passed_over == {
        "system files": 3,
        "files that are no images": 3,
        "images outside the class folders used": 1,
    }


def test_heic_photos_are_images_so_that_they_are_named_when_rejected():
    assert layout("cats/1.HEIC", "dogs/1.jpg")[0]["cats/1.HEIC"] == ("cats", None)


def test_a_class_named_like_a_split_without_its_partner():
    assert set(layout("train/1.png", "boat/1.png")[0].values()) == {("train", None), ("boat", None)}


@pytest.mark.parametrize(
    "names,words",
    [
        ([], "holds no images"),
        (["readme.txt", "cats/notes.md"], "holds no images"),
        (["1.png", "2.png"], "holds 2 images but no class folders; put the images of each class in a folder"),
    ],
)
def test_no_class_folders_at_all(names, words):
    with pytest.raises(DataError, match=words):
        find_layout(names)


def test_thousands_of_folders_inside_each_other():
    deep = "a/" * 20_000
    assert len(layout(f"{deep}cats/1.png", f"{deep}dogs/1.png")[0]) == 2


@pytest.mark.parametrize("names", [["1.png", "b/notes.txt"], ["./1.png"]])
def test_images_without_folders_have_no_class_where_none_is_needed(names):
    places, _ = find_layout(names, needs_classes=False)
    assert places == [(0, "", None)]


def test_no_images_are_an_error_even_where_no_class_is_needed():
    with pytest.raises(DataError, match="holds no images"):
        find_layout(["readme.txt"], needs_classes=False)
