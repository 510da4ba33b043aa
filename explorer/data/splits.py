"""Divide a data set into train and validation: stratified, seeded, copies always on the same side."""

import random

import numpy as np

from explorer.data.duplicates import linked_groups
from explorer.data.report import DatasetReport, Split
from explorer.errors import DataError


def assign_splits(report: DatasetReport, val_fraction: float = 0.15, seed: int = 0) -> DatasetReport:
    """The report with every image in "train" or "val"; a split that came with the data is kept as it is.

    Each class gives round(val_fraction * images) to validation, at least one image and at most all but one, as nearly
    as its groups of copies allow. The same report, fraction and seed give the same split. DataError names a class that
    can't have an image on both sides.
    """
    if report.has_split:
        return report
    if not 0 < val_fraction < 1:
        raise DataError(f"The validation share must lie between 0 and 1, but is {val_fraction}; 0.15 is usual.")
    groups = _groups(report)
    random.Random(seed).shuffle(groups)
    val = _choose(report, groups, val_fraction)
    sides: list[Split] = ["val" if index in val else "train" for index in range(len(report.items))]
    return report.with_splits(sides)


def _groups(report: DatasetReport) -> list[list[int]]:
    """All images as groups that must stay together; most groups hold a single one."""
    linked = linked_groups([group.items for group in report.duplicates], len(report.items))
    together = {index for group in linked for index in group}
    return linked + [[index] for index in range(len(report.items)) if index not in together]


def _choose(report: DatasetReport, groups: list[list[int]], val_fraction: float) -> set[int]:
    """Indices of the validation images: whole groups, in the given order, while every class has room for them."""
    labels = np.array([item.label for item in report.items])
    total = np.bincount(labels, minlength=len(report.class_names))
    target = np.clip(np.round(val_fraction * total).astype(int), 1, np.maximum(total - 1, 1))
    sizes = [np.bincount(labels[group], minlength=len(total)) for group in groups]
    taken, chosen = np.zeros_like(total), set[int]()
    for number, size in enumerate(sizes):
        if np.all((taken + size <= target) | (size == 0)):
            taken += size
            chosen.add(number)
    for label in np.flatnonzero(taken == 0):
        number = _smallest_that_fits(int(label), sizes, taken, total)
        if number is None:
            raise DataError(
                f"Class '{report.class_names[label]}' can't be split: its images are copies of one another, which must "
                "stay together; add different images of it."
            )
        taken += sizes[number]
        chosen.add(number)
    return {index for number in chosen for index in groups[number]}


def _smallest_that_fits(label: int, sizes: list[np.ndarray], taken: np.ndarray, total: np.ndarray) -> int | None:
    """The smallest group with an image of the class that leaves every class an image to train on."""
    fits = [number for number, size in enumerate(sizes) if size[label] and np.all((taken + size < total) | (size == 0))]
    return min(fits, key=lambda number: int(sizes[number].sum()), default=None)
