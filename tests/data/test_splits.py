"""Splits are stratified and seeded, keep copies together, and leave every class an image on both sides."""

from collections import Counter

import pytest

from explorer.data.report import DatasetReport, DuplicateGroup, Item
from explorer.data.splits import assign_splits
from explorer.errors import DataError


def report_of(counts: dict[str, int], duplicates: tuple[tuple[int, ...], ...] = (), split=None) -> DatasetReport:
    items = [
        Item(None, f"{name}/{number}.png", label, split, f"{label}-{number}", "0" * 16, 10, 10)
        for label, (name, count) in enumerate(counts.items())
        for number in range(count)
    ]
    groups = tuple(DuplicateGroup("near", group, False, False) for group in duplicates)
    return DatasetReport("somewhere", tuple(counts), tuple(items), duplicates=groups)


def sides(report: DatasetReport) -> list[str | None]:
    return [item.split for item in report.items]


@pytest.mark.parametrize("fraction", [0.05, 0.15, 0.2, 0.5, 0.9])
def test_each_class_gives_its_share(fraction):
    counts = {"ants": 2, "bees": 7, "cats": 40, "dogs": 1000}
    split = assign_splits(report_of(counts), fraction)
    expected = {name: min(max(1, round(fraction * count)), count - 1) for name, count in counts.items()}
    assert split.counts("val") == expected
    assert split.counts("train") == {name: counts[name] - expected[name] for name in counts}


def test_default_is_15_percent():
    assert assign_splits(report_of({"a": 100, "b": 200})).counts("val") == {"a": 15, "b": 30}


def test_seed_decides_and_repeats():
    report = report_of({"a": 50, "b": 50})
    assert sides(assign_splits(report, seed=3)) == sides(assign_splits(report, seed=3))
    assert sides(assign_splits(report, seed=3)) != sides(assign_splits(report, seed=4))


@pytest.mark.parametrize("seed", range(20))
def test_copies_stay_on_one_side(seed):
    # a run of three, a pair across the classes, and two groups that share an image
    duplicates = ((0, 1, 2), (5, 45), (50, 51), (51, 52, 10))
    split = assign_splits(report_of({"a": 40, "b": 20}, duplicates), 0.3, seed)
    for together in ((0, 1, 2), (5, 45), (50, 51, 52, 10)):
        assert len({split.items[index].split for index in together}) == 1
    assert abs(split.counts("val")["a"] - 12) <= 2 and abs(split.counts("val")["b"] - 6) <= 2


def test_every_image_has_its_turn_in_validation():
    drawn = Counter(
        index
        for seed in range(200)
        for index, side in enumerate(sides(assign_splits(report_of({"a": 10, "b": 10}), 0.2, seed)))
        if side == "val"
    )
    assert len(drawn) == 20 and max(drawn.values()) < 80, "each is drawn about 40 times of 200"


@pytest.mark.parametrize("seed", range(10))
def test_a_large_group_of_copies_goes_where_it_fits(seed):
    split = assign_splits(report_of({"a": 10, "b": 10}, (tuple(range(9)),)), 0.2, seed)
    assert split.counts("val") == {"a": 1, "b": 2}, "nine copies can't be a fifth, so the tenth image is"
    split = assign_splits(report_of({"a": 4, "b": 10}, ((0, 1), (2, 3))), 0.2, seed)
    assert split.counts("val")["a"] == 2, "one pair goes over the share, rather than no image"


def test_a_class_of_copies_only_is_named():
    with pytest.raises(DataError, match="Class 'b' can't be split: its images are copies of one another"):
        assign_splits(report_of({"a": 5, "b": 3}, ((5, 6, 7),)))


def test_given_split_is_kept():
    report = report_of({"a": 3, "b": 3}, split="train")
    assert assign_splits(report, 0.5) is report


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_impossible_share(fraction):
    with pytest.raises(DataError, match="between 0 and 1"):
        assign_splits(report_of({"a": 3, "b": 3}), fraction)
