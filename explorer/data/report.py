"""What was found in a data set: its images, classes, what was left out and why, and which images are copies."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any, Literal

from explorer.errors import DataError
from explorer.words import count_in_words

Split = Literal["train", "val"]
LISTED = 20  # classes that `lines` names
NO_LABEL = -1  # of an image that lies in no class folder
ONE = {  # what is passed over, where it is one only
    "system files": "system file",
    "linked folders": "linked folder",
    "files that aren't images": "file that isn't an image",
    "images outside the class folders used": "image outside the class folders used",
}


@dataclass(frozen=True)
class Item:
    """One image that opened.

    path: absolute path of its file, or None where a zip was read without keeping the images.
    name: its name in the source. label: index into the report's class_names, or NO_LABEL. split: None until one is
    assigned.
    sha: sha256 of the file's bytes, hex. dhash: perceptual hash, 16 hex digits. width, height: pixels, upright.
    """

    path: str | None
    name: str
    label: int
    split: Split | None
    sha: str
    dhash: str
    width: int
    height: int

    @property
    def file(self) -> Path:
        """The image's file; DataError where there is none."""
        if self.path is None:
            raise DataError(
                f"'{self.name}' was only looked at inside its zip; read the data set again with out=FOLDER."
            )
        return Path(self.path)


@dataclass(frozen=True)
class Rejected:
    """An image that could not be used, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class DuplicateGroup:
    """Images that are copies of one another: "exact" (equal files) or "near" (resized, recompressed, slightly cropped).

    items: indices into the report's items.
    """

    kind: Literal["exact", "near"]
    items: tuple[int, ...]
    across_classes: bool
    across_splits: bool


@dataclass(frozen=True)
class DatasetReport:
    """A data set as read; class_names are in alphabetical order, as labels count them."""

    source: str
    class_names: tuple[str, ...]
    items: tuple[Item, ...]
    rejected: tuple[Rejected, ...] = ()
    passed_over: Mapping[str, int] = field(default_factory=dict)
    duplicates: tuple[DuplicateGroup, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def has_split(self) -> bool:
        """Whether every image is assigned to train or val."""
        return bool(self.items) and all(item.split for item in self.items)

    def split_items(self, split: Split) -> list[Item]:
        return [item for item in self.items if item.split == split]

    def folder(self, item: Item) -> str:
        """The name of the item's class folder, "" where it lies in none."""
        return "" if item.label == NO_LABEL else self.class_names[item.label]

    def counts(self, split: Split | None = None) -> dict[str, int]:
        """Images of each class, of one side of the split or of both; classes in label order."""
        found = Counter(item.label for item in self.items if split in (None, item.split))
        return {name: found[label] for label, name in enumerate(self.class_names)}

    def imbalance(self) -> float:
        """Images of the largest class for each one of the smallest."""
        counts = self.counts().values()
        return max(counts) / max(1, min(counts))

    def sizes(self) -> dict[str, tuple[int, int, int]]:
        """Smallest, median and largest width and height, in pixels."""
        sides = {"width": [item.width for item in self.items], "height": [item.height for item in self.items]}
        return {side: (min(values), int(median(values)), max(values)) for side, values in sides.items()}

    def samples(self, per_class: int = 4) -> dict[str, list[Item]]:
        """A few images of each class, spread evenly over the class."""
        found: dict[str, list[Item]] = {}
        for label, name in enumerate(self.class_names):
            items = [item for item in self.items if item.label == label]
            count = min(per_class, len(items))
            found[name] = [items[index * len(items) // count] for index in range(count)]
        return found

    def others(self) -> list[str]:
        """What is no part of the data set, counted: "3 system files", "1 linked folder"."""
        return [f"{count:,} {ONE.get(what, what) if count == 1 else what}" for what, count in self.passed_over.items()]

    def copies(self) -> str:
        """ "none", or "5 groups, 2 across classes, 1 across train and validation"."""
        classes = sum(group.across_classes for group in self.duplicates)
        splits = sum(group.across_splits for group in self.duplicates)
        parts = [count_in_words(len(self.duplicates), "group") if self.duplicates else "none"]
        parts += [f"{classes:,} across classes"] * bool(classes)
        return ", ".join(parts + [f"{splits:,} across train and validation"] * bool(splits))

    def with_splits(self, splits: Sequence[Split]) -> "DatasetReport":
        """The same report with one side of the split for each item, and the duplicates' flags to match."""
        items = tuple(replace(item, split=split) for item, split in zip(self.items, splits, strict=True))
        groups = tuple(duplicate_group(group.kind, group.items, items) for group in self.duplicates)
        return replace(self, items=items, duplicates=groups)

    def lines(self) -> list[str]:
        """What was found, for a person to read before training: classes with their images, what isn't used, notes."""
        sides = f", {len(self.split_items('train')):,} to train on and {len(self.split_items('val')):,} to validate"
        counts = {side: self.counts(side) for side in ("train", "val")} if self.has_split else {}
        lines = [f"{len(self.items):,} images of {len(self.class_names):,} classes{sides if counts else ''}"]
        for name, count in list(self.counts().items())[:LISTED]:
            split = f" ({counts['train'][name]:,} + {counts['val'][name]:,})" if counts else ""
            lines.append(f"  {name}: {count:,}{split}")
        if len(self.class_names) > LISTED:
            lines.append(f"  and {len(self.class_names) - LISTED:,} more classes")
        lines += [f"passed over: {what}" for what in self.others()]
        if self.rejected:
            first = self.rejected[0]
            lines.append(f"left out: {len(self.rejected):,}, such as {first.name}: {first.reason}")
        if self.duplicates:
            lines.append(f"copies of the same picture: {self.copies()}")
        return lines + list(self.notes)

    def to_json(self) -> str:
        """One JSON text, which `from_json` turns back into an equal report."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1)

    @staticmethod
    def from_json(text: str) -> "DatasetReport":
        """The report that `to_json` wrote; DataError where the text is none."""
        try:
            return _from_dict(json.loads(text))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(f"This isn't a data set report ({error}); read the data set again.") from error


def duplicate_group(kind: Literal["exact", "near"], indices: Sequence[int], items: Sequence[Item]) -> DuplicateGroup:
    """A group with its flags: whether the copies differ in class, or lie on both sides of the split."""
    labels = {items[index].label for index in indices}
    splits = {items[index].split for index in indices}
    return DuplicateGroup(kind, tuple(indices), len(labels) > 1, len(splits) > 1)


def _from_dict(data: dict[str, Any]) -> DatasetReport:
    return DatasetReport(
        source=data["source"],
        class_names=tuple(data["class_names"]),
        items=tuple(Item(**item) for item in data["items"]),
        rejected=tuple(Rejected(**entry) for entry in data["rejected"]),
        passed_over=data["passed_over"],
        duplicates=tuple(DuplicateGroup(**{**group, "items": tuple(group["items"])}) for group in data["duplicates"]),
        notes=tuple(data["notes"]),
    )
