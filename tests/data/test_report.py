"""A report survives the trip through JSON and answers what the pages ask."""

import pytest

from explorer.data.datasets import read_dataset
from explorer.data.report import DatasetReport
from explorer.data.splits import assign_splits
from explorer.errors import DataError
from tests.zips import picture, pictures, write_zip


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> DatasetReport:
    folder = tmp_path_factory.mktemp("report")
    files = {**pictures({"Köter": 20, "猫": 10}), "猫/bad.png": b"x", "notes.txt": b"x"}
    files["猫/copy.png"] = files["猫/0.png"]
    return read_dataset(write_zip(folder / "data.zip", files), folder / "out")


def test_json_round_trip(report):
    split = assign_splits(report)
    for each in (report, split):
        assert DatasetReport.from_json(each.to_json()) == each
    assert "Köter" in report.to_json(), "names stay readable in the file"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"source": 1}', "not json", '{"items": [{"path": 1}]}'])
def test_json_that_is_no_report(text):
    with pytest.raises(DataError, match="isn't a data set report"):
        DatasetReport.from_json(text)


def test_counts_and_imbalance(report):
    assert report.counts() == {"Köter": 20, "猫": 11}
    assert report.imbalance() == pytest.approx(20 / 11)
    split = assign_splits(report, 0.2)
    assert len(split.split_items("train")) + len(split.split_items("val")) == 31
    assert {
        name: split.counts("train")[name] + split.counts("val")[name] for name in split.class_names
    } == split.counts()


def test_samples_are_spread_over_the_class(report):
    samples = report.samples(4)
    assert [item.name for item in samples["Köter"]] == [f"Köter/{number}.png" for number in ("0", "13", "18", "5")]
    assert len(report.samples(50)["猫"]) == 11


def test_flags_of_copies_follow_the_split(report):
    (group,) = report.duplicates
    first = group.items[0]
    sides = ["val" if index == first else "train" for index in range(len(report.items))]
    assert report.with_splits(sides).duplicates[0].across_splits
    assert not assign_splits(report).duplicates[0].across_splits


def test_a_report_of_a_picture_that_moved(report):
    item = report.items[0]
    assert item.file.read_bytes() == picture(0)
