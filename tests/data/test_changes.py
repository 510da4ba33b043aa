"""Changes of a data set: photos left out or given another class, kept beside it, never made to its files."""

import json
from dataclasses import asdict

import pytest

from explorer.data.changes import NO_CHANGES, Change, Changes, read_changes, write_changes
from explorer.data.datasets import read_dataset
from explorer.data.splits import assign_splits
from explorer.data.store import changes_file, stored_folder
from explorer.errors import DataError
from tests.zips import picture, pictures, write_folder

OUT = Change("a" * 64, "ants/0.png", "ants")


@pytest.fixture
def data(tmp_path):
    """Ants and bees; the first ant lies among the bees as well, and the second ant twice."""
    files = pictures({"ants": 4, "bees": 4})
    files |= {"bees/copy.png": files["ants/0.png"], "ants/copy.png": files["ants/1.png"]}
    return write_folder(tmp_path / "data", files)


def shas(report) -> dict[str, str]:
    return {item.name: item.sha for item in report.items}


def test_a_photo_is_left_out_with_its_copies_and_another_gets_its_class(data):
    before = {path: path.read_bytes() for path in data.rglob("*.png")}
    report = read_dataset(data)
    sha = shas(report)
    moved = Change(sha["ants/1.png"], "ants/1.png", "ants", "bees")
    changes = Changes((Change(sha["ants/0.png"], "ants/0.png", "ants"), moved))
    changed = changes.apply(report)
    labels = {item.name: changed.class_names[item.label] for item in changed.items}
    assert labels == {
        "ants/1.png": "bees", "ants/2.png": "ants", "ants/3.png": "ants", "ants/copy.png": "bees",
        **{f"bees/{number}.png": "bees" for number in range(4)},
    }  # fmt: skip
    (group,) = changed.duplicates
    assert [changed.items[index].name for index in group.items] == ["ants/1.png", "ants/copy.png"]
    assert not group.across_classes
    assert changed.notes[-1] == "Changed by hand: 1 photo left out, 1 given another class."
    assert NO_CHANGES.apply(report) is report
    assert {path: path.read_bytes() for path in data.rglob("*.png")} == before


def test_the_split_of_the_others_stays(data):
    report = assign_splits(read_dataset(data), 0.4)
    sides = {item.name: item.split for item in report.items}
    changed = Changes((Change(shas(report)["bees/2.png"], "bees/2.png", "bees"),)).apply(report)
    del sides["bees/2.png"]
    assert {item.name: item.split for item in changed.items} == sides


@pytest.mark.parametrize(
    ("side", "class_name", "said"),
    [
        ("train", "ants", "With these changes class 'ants' has no photo left to train on: undo some"),
        ("val", None, "With these changes no photo is left to validate with: undo some"),
    ],
)
def test_changes_that_leave_too_little_are_refused_by_what_would_be_missing(data, side, class_name, said):
    report = assign_splits(read_dataset(data), 0.4)
    label = report.class_names.index(class_name) if class_name else None
    out = [item for item in report.items if item.split == side and label in (None, item.label)]
    changes = Changes(tuple(Change(sha, "x.png", "ants") for sha in dict.fromkeys(item.sha for item in out)))
    with pytest.raises(DataError, match=said):
        changes.apply(report)
    assert len(Changes(changes.entries[1:]).apply(report).items) > 0, "one more photo is enough"


def test_a_class_that_the_data_lack_is_named_and_strange_photos_are_counted(data):
    report = read_dataset(data)
    wasp = Change(shas(report)["ants/2.png"], "ants/2.png", "ants", "wasps")
    with pytest.raises(DataError, match=r"'ants/2.png' the class 'wasps', which these data don't have; .* ants, bees"):
        Changes((wasp,)).apply(report)
    assert Changes((OUT,)).apply(report).notes[-1] == (
        "Changed by hand: nothing. Passed over: changes of 1 photo that these data don't hold."
    )


def test_each_photo_has_one_change_and_can_go_back():
    changes = NO_CHANGES.add(OUT).add(Change("b" * 64, "x", "ants", "bees"))
    again = changes.add(Change(OUT.sha, OUT.name, "ants", "bees"))
    assert [entry.sha[0] for entry in again.entries] == ["b", "a"]
    assert changes.words() == "1 photo left out, 1 given another class"
    assert again.words() == "2 photos given another class"
    assert again.undo(OUT.sha).of(OUT.sha) is None and again.of(OUT.sha)


def test_the_file_keeps_them_and_goes_with_the_last(tmp_path):
    path = tmp_path / "x.changes"
    changes = Changes((OUT, Change("b" * 64, "Ä/1.png", "Ä", "bees")))
    write_changes(path, changes)
    assert read_changes(path) == changes
    assert [file.name for file in tmp_path.iterdir()] == ["x.changes"]
    write_changes(path, NO_CHANGES)
    assert not path.exists()
    with pytest.raises(DataError, match="can't be read"):
        read_changes(path)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"photos": [1]}',
        '{"photos": [{"sha": "a", "name": "b"}]}',
        "[" * 100_000,
        "\udcff",
        json.dumps({"photos": [{**asdict(OUT), "sha": "../up"}]}),
        json.dumps({"photos": [{**asdict(OUT), "class_name": "\ud800"}]}),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path, content):
    (tmp_path / "bad.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=r"'bad.json' isn't a file of changes"):
        read_changes(tmp_path / "bad.json")


def test_they_lie_beside_an_upload_by_its_content_and_apart_from_a_folder_of_a_person(tmp_path, data):
    store = tmp_path / "store"
    store.mkdir()
    first, second = (store / f"0123456789abcdef-{name}.zip" for name in ("a", "b"))
    assert (
        changes_file(first, store) == changes_file(second, store) == stored_folder(first, store).with_suffix(".changes")
    )
    own = changes_file(data, store)
    assert own.parent == store
    (data / "ants" / "more.png").write_bytes(picture(77))
    assert changes_file(data, store) == own, "a folder that grows keeps its changes"
    assert json.dumps(Changes((OUT,)).to_dict())
