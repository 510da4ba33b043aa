"""What a person changed of a data set without touching its files: photos left out, photos given another class."""

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from explorer.data.report import DatasetReport, Item, Split, duplicate_group
from explorer.errors import DataError, DiskError
from explorer.files import write_whole
from explorer.words import count_in_words

LARGEST_FILE = 2**24  # bytes: a hundred thousand changes
_SHA = re.compile("[0-9a-f]{64}")
_HALVES = re.compile("[\ud800-\udfff]")  # halves of characters, which no page and no file takes
_FIELDS = {"sha": str, "name": str, "before": str, "class_name": (str, type(None))}


@dataclass(frozen=True)
class Change:
    """One photo and every equal file: left out where class_name is None, else given that class.

    sha: sha256 of the file, hex. name: in the data set, for people. before: its class in the data set.
    """

    sha: str
    name: str
    before: str
    class_name: str | None = None


@dataclass(frozen=True)
class Changes:
    """The changes of one data set, the newest last; each photo at most once."""

    entries: tuple[Change, ...] = ()

    def of(self, sha: str) -> Change | None:
        """What was changed of the photo with that sha256; None where nothing was."""
        return next((entry for entry in self.entries if entry.sha == sha), None)

    def add(self, change: Change) -> "Changes":
        """With that change, in place of an earlier one of the same photo."""
        return Changes((*self.undo(change.sha).entries, change))

    def undo(self, sha: str) -> "Changes":
        """Without the change of that photo."""
        return Changes(tuple(entry for entry in self.entries if entry.sha != sha))

    def to_dict(self) -> dict[str, Any]:
        """What a file of changes holds."""
        return {"photos": [asdict(entry) for entry in self.entries]}

    def words(self) -> str:
        """ "2 photos left out, 1 given another class"; "" where there is none."""
        out = sum(entry.class_name is None for entry in self.entries)
        moved = len(self.entries) - out
        parts = [f"{count_in_words(out, 'photo')} left out"] * bool(out)
        parts += [f"{f'{moved:,}' if out else count_in_words(moved, 'photo')} given another class"] * bool(moved)
        return ", ".join(parts)

    def apply(self, report: DatasetReport) -> DatasetReport:
        """The report without what was left out, and with the new classes; a note says how many photos that is.

        Sides of a split stay, so that photos that validate go on to. Raises DataError for a class that the data lack,
        and where too little is left to train on.
        """
        if not self.entries:
            return report
        labels = {name: label for label, name in enumerate(report.class_names)}
        self._check_classes(labels)
        found = [(index, item, self._by_sha.get(item.sha)) for index, item in enumerate(report.items)]
        kept = [
            (index, item if change is None else replace(item, label=labels[change.class_name or ""]))
            for index, item, change in found
            if change is None or change.class_name is not None
        ]
        note = self._note({item.sha for item in report.items})
        changed = _with_items(replace(report, notes=(*report.notes, note)), kept)
        _check_enough(report, changed)
        return changed

    @property
    def _by_sha(self) -> dict[str, Change]:
        return {entry.sha: entry for entry in self.entries}

    def _check_classes(self, known: Iterable[str]) -> None:
        for entry in self.entries:
            if entry.class_name is not None and entry.class_name not in known:
                raise DataError(
                    f"The changes give '{entry.name}' the class '{entry.class_name}', which these data don't have; "
                    f"their classes are {', '.join(known)}."
                )

    def _note(self, shas: set[str]) -> str:
        used = Changes(tuple(entry for entry in self.entries if entry.sha in shas))
        note, strange = f"Changed by hand: {used.words() or 'nothing'}.", len(self.entries) - len(used.entries)
        if strange:
            note += f" Passed over: changes of {count_in_words(strange, 'photo')} that these data don't hold."
        return note


NO_CHANGES = Changes()


def _check_enough(before: DatasetReport, changed: DatasetReport) -> None:
    """Raise DataError where the changes took a class's last photo to train on, or the last one to validate with."""
    learnt: Split | None = "train" if before.has_split else None
    left, validating = changed.counts(learnt), any(changed.counts("val").values())
    gone = [name for name, count in before.counts(learnt).items() if count and not left[name]]
    if gone or (before.has_split and not validating and any(before.counts("val").values())):
        what = f"class '{gone[0]}' has no photo left to train on" if gone else "no photo is left to validate with"
        raise DataError(f"With these changes {what}: undo some of them, or train without them.")


def _with_items(report: DatasetReport, kept: list[tuple[int, Item]]) -> DatasetReport:
    """The report with these items alone, given with their old places, and the groups of copies among them."""
    place = {old: new for new, (old, _) in enumerate(kept)}
    items = tuple(item for _, item in kept)
    groups: list[tuple[Literal["exact", "near"], list[int]]] = [
        (group.kind, [place[index] for index in group.items if index in place]) for group in report.duplicates
    ]
    copies = tuple(duplicate_group(kind, left, items) for kind, left in groups if len(left) > 1)
    return replace(report, items=items, duplicates=copies)


def read_changes(path: Path) -> Changes:
    """The changes in that file; DataError where there is none, or it is damaged or something else."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise DataError(f"'{path.name}' is too large to be a file of changes; give the one that the app made.")
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"The changes in '{path.name}' can't be read ({error.strerror}): check the path.") from error
    except (ValueError, RecursionError):
        found = None
    photos = found.get("photos") if isinstance(found, dict) else None
    if not isinstance(photos, list) or not all(map(_is_change, photos)):
        raise DataError(f"'{path.name}' isn't a file of changes, or is damaged: give one that the app made.")
    return Changes(tuple({photo["sha"]: _change(photo) for photo in photos}.values()))


def _is_change(photo: object) -> bool:
    if not isinstance(photo, dict) or not all(isinstance(photo.get(key), kind) for key, kind in _FIELDS.items()):
        return False
    texts = "".join(photo[key] or "" for key in _FIELDS)
    return bool(_SHA.fullmatch(photo["sha"])) and not _HALVES.search(texts)


def _change(photo: dict[str, str]) -> Change:
    return Change(**{key: photo[key] for key in _FIELDS})


def write_changes(path: Path, changes: Changes) -> None:
    """Write them whole or not at all; no file where there is none to keep. DiskError where the disk is full."""
    try:
        if not changes.entries:
            path.unlink(missing_ok=True)
            return
        write_whole(path, json.dumps(changes.to_dict(), indent=1, ensure_ascii=False))
    except OSError as error:
        raise DiskError(f"The changes can't be kept in '{path.parent}' ({error.strerror}): free some space.") from error
