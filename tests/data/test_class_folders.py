"""Classes are found from folders, however they are wrapped, and what is passed over is counted."""

import pytest

from explorer.data.class_folders import find_layout
from explorer.data.datasets import read_dataset
from explorer.errors import DataError
from tests.zips import write_folder


def layout(*names):
    """{name: (class, split)} and the counts."""
    places, passed_over, _ = find_layout(names)
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
        "files that aren't images": 3,
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
    ],
)
def test_no_class_folders_at_all(names, words):
    with pytest.raises(DataError, match=words):
        find_layout(names)


def test_thousands_of_folders_inside_each_other():
    deep = "a/" * 20_000
    assert len(layout(f"{deep}cats/1.png", f"{deep}dogs/1.png")[0]) == 2


@pytest.mark.parametrize("names", [["1.png", "b/notes.txt"], ["./1.png"]])
def test_images_without_folders_have_no_class_at_all(names):
    places, _, _ = find_layout(names)
    assert places == [(0, "", None)]


def sides(*names):
    """(class, split) of all images, and the notes."""
    places, _, notes = find_layout(names)
    return {(place.class_name, place.split) for place in places}, " ".join(notes)


SPLIT = {("cats", "train"), ("dogs", "train"), ("cats", "val"), ("dogs", "val")}


@pytest.mark.parametrize(
    "train, val",
    [
        ("Training", "Testing"), ("seg_train/seg_train", "seg_test/seg_test"), ("training_set", "test_set"),
        ("train", "dev"), ("TrainImages", "ValImages"), ("trainset", "valset"), ("1. Train Data", "2. Holdout"),
        ("train2017", "val2017"), ("imagenet-train", "imagenet-evaluation"),
    ],
)  # fmt: skip
def test_sides_of_a_split_under_other_names(train, val):
    found, notes = sides(*(f"{side}/{name}/1.png" for side in (train, val) for name in ("cats", "dogs")))
    assert found == SPLIT
    assert f"in '{train.split('/')[0]}' are for training, those in '{val.split('/')[0]}' for validation" in notes


def test_folders_of_no_side_are_not_used_and_said():
    found, notes = sides(
        *(f"{side}/{name}/1.png" for side in ("seg_train", "seg_test") for name in ("cats", "dogs")), "seg_pred/1.png"
    )
    assert found == SPLIT and "The folder 'seg_pred' was not used." in notes


@pytest.mark.parametrize("names", [("train station", "test tube"), ("trains", "tests"), ("dev board", "training shoe")])
def test_classes_that_speak_of_a_side_are_classes(names):
    found, notes = sides(*(f"{name}/{number}.png" for name in names for number in range(2)))
    assert found == {(name, None) for name in names} and not notes


def test_classes_with_the_same_subfolders_are_doubted():
    found, notes = sides(*(f"{side}/{name}/1.png" for side in ("part A", "part B") for name in ("cats", "dogs")))
    assert found == {("part A", None), ("part B", None)}
    assert "'part A' and 'part B' were taken for the classes, but hold the same subfolders (cats and dogs)" in notes


def test_a_split_inside_the_classes_is_said_to_be_unused():
    names = [f"{name}/{side}/{i}.jpg" for name in ("cats", "dogs") for side in ("Train", "Test") for i in range(2)]
    places, _, notes = find_layout(names)
    assert {(place.class_name, place.split) for place in places} == {("cats", None), ("dogs", None)}
    assert "the split inside them (test and train) isn't used" in notes[0]


def test_a_class_called_like_a_side_that_holds_folders_is_doubted():
    _, notes = sides("train/cats/1.png", "train/dogs/1.png", "unlabelled/1.png")
    assert "The folder 'train' was taken for a class" in notes


@pytest.mark.parametrize(
    "train, val",
    [
        (("Cat", "dog"), ("cat", "DOG")), (("0_cat", "1_dog"), ("cat", "dog")), (("cat", "dog"), ("1. cat", "2. Dog")),
        (("big cat", "dog"), ("big_cat", "dog")), (("müller", "grün"), ("mu\u0308ller", "gru\u0308n")),
        (("ＣＡＴ", "ﾈｺ"), ("cat", "ネコ")),
    ],
)  # fmt: skip
def test_class_folders_of_the_two_sides_are_matched_as_people_mean_them(train, val):
    found, _ = sides(*(f"train/{name}/1.png" for name in train), *(f"val/{name}/1.png" for name in val))
    assert found == {(name, side) for name in train for side in ("train", "val")}


def test_a_validation_folder_that_cannot_be_used_is_said():
    found, notes = sides("train/cats/1.png", "train/dogs/1.png", "test/unknown/1.png")
    assert found == {("cats", None), ("dogs", None)}
    assert "The folder 'test' was not used for validation: no folder in there is called like one in 'train'" in notes


@pytest.mark.parametrize(
    "folders",
    [("train", "test1"), ("train2017", "val2017"), ("images/train", "images/val"), ("train_images", "test_images")],
)
def test_images_straight_in_the_sides_of_a_split_have_no_class(tmp_path, folders):
    """As Kaggle's dogs and cats, COCO and YOLO's data come: no model is to learn train from test."""
    names = [f"{folder}/{number}.jpg" for folder in folders for number in range(2)]
    found, notes = sides(*names)
    assert found == {("", None)} and "There are no class folders in the folders" in notes
    with pytest.raises(DataError, match="holds 4 images but no class folders; put the images"):
        read_dataset(write_folder(tmp_path / "data", dict.fromkeys(names, b"")))
    assert not find_layout(["train/1.jpg", "ship/1.jpg"])[2]


def test_sides_beside_a_class_are_doubted():
    found, notes = sides("train/1.jpg", "test/1.jpg", "ship/1.jpg")
    assert found == {(name, None) for name in ("train", "test", "ship")}
    assert "The folders 'test' and 'train' were taken for classes, though called like the sides of a split" in notes


@pytest.mark.parametrize("train, test", [("Final_Training/Images", "Final_Test/Images"), ("training", "testing")])
def test_a_test_folder_without_the_classes_is_no_class(train, test):
    found, notes = sides(f"{train}/00000/1.ppm", f"{train}/00001/1.ppm", f"{test}/1.ppm")
    assert found == {("00000", None), ("00001", None)}
    assert f"'{test.split('/')[0]}' was not used for validation" in notes


@pytest.mark.parametrize("wrapping", ["", "brain_tumor_dataset/"])
def test_a_folder_that_repeats_those_beside_it_is_left_out(wrapping):
    """As Kaggle's brain tumours and flowers come: each image twice."""
    found, notes = sides(*(f"{wrapping}{folder}/1.jpg" for folder in ("all/yes", "all/no", "yes", "no")))
    assert found == {("yes", None), ("no", None)}
    assert notes == "The folder 'all' was not used: it holds the folders beside it (no and yes)."


@pytest.mark.parametrize(
    "folders, words",
    [
        (("data/cats", "data/dogs", "docs"), "taken for a class, with all the folders inside (cats and dogs)"),
        (("animals/cat", "animals/dog", "vehicles/car", "vehicles/bus"), "classes, each with all the folders inside"),
        (("train_cat", "train_dog", "test_cat", "test_dog"), "though called like the sides of a split"),
        (("images_001/images", "images_002/images"), "but are called like parts"),
        (("HAM10000_images_part_1", "HAM10000_images_part_2"), "but are called like parts"),
        (("images", "annotations/trimaps"), "The folder 'images' was taken for a class, but isn't called like one"),
        (("Cat", "cat", "dog"), "The classes 'Cat' and 'cat' are spelled nearly alike"),
        (("cat ", "cat", "dog"), "The classes 'cat' and 'cat ' are spelled nearly alike"),
    ],
)  # fmt: skip
def test_folders_that_may_be_no_classes_are_doubted(folders, words):
    found, notes = sides(*(f"{folder}/{number}.jpg" for folder in folders for number in range(2)))
    assert found == {(folder.split("/")[0], None) for folder in folders} and words in notes


@pytest.mark.parametrize(
    "folders", [("grade 1", "grade 2"), ("c0", "c1"), ("part", "whole"), ("0", "00"), ("Class 1", "Class 2")]
)
def test_classes_with_numbers_are_no_parts(folders):
    assert not find_layout([f"{folder}/{number}.jpg" for folder in folders for number in range(2)])[2]


def test_a_folder_without_an_image_is_said_to_be_no_class():
    names = ["cats/1.jpg", "birds/1.jpg", "dogs/1.dcm", "dogs/deep/2.dcm", "readme.txt"]
    _, _, notes = find_layout(names, empty=("fish", "cats", ".git", "cats/empty"))
    assert notes == ("No class comes from the folders 'dogs' and 'fish': there is no image inside.",)
    split = [f"{side}/{name}/1.jpg" for side in ("train", "val") for name in ("cats", "dogs")]
    assert "'fish'" in " ".join(find_layout([*split, "train/fish/1.svg", "labels/train/1.txt"])[2])
    with pytest.raises(DataError, match=r"holds no images, only files ending in \.dcm and \.txt"):
        find_layout(["cats/1.dcm", "dogs/2.dcm", "readme.txt"])


@pytest.mark.parametrize("folder", ["@eaDir/cats", "#recycle", "$RECYCLE.BIN/S-1-5", ".ipynb_checkpoints"])
def test_what_systems_leave_beside_the_classes_is_no_class(folder):
    places, passed_over, notes = find_layout(["cats/1.jpg", "dogs/1.jpg", f"{folder}/1.jpg"])
    assert {place.class_name for place in places} == {"cats", "dogs"}
    assert passed_over == {"system files": 1} and not notes


def test_signs_that_cannot_be_seen_are_shown_by_their_codes():
    """Joiners belong to words of Persian and to emoji; ends of lines, directions and colours of a terminal don't."""
    names = ["گربه\u200cها", "👩\u200d🌾", "big\u3000cat", "ca\nt", "\x1b[31mdog", "a\u202eb", "a\u200bb", "caf\udce9"]
    found, _ = sides(*(f"{name}/1.jpg" for name in names))
    assert {name for name, _ in found} == {
        *names[:3], "ca�at", "�1b[31mdog", "a�202eb", "a�200bb", "caf�dce9"
    }  # fmt: skip


def test_a_split_beside_another_folder_is_doubted():
    names = [f"data/{side}/{name}/1.png" for side in ("train", "val") for name in ("cats", "dogs")]
    _, _, notes = find_layout([*names, "previews/1.png"])
    assert len(notes) == 1 and "The folder 'data' was taken for a class, though the split in there" in notes[0]
