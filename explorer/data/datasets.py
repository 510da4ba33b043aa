"""Read a zip or folder of class folders: every image opened and checked, nothing silently dropped or made up."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from explorer.data.archives import DamagedEntryError
from explorer.data.duplicates import Fingerprint, find_duplicates, fingerprint
from explorer.data.images import open_image
from explorer.data.layout import LAYOUT_HELP, NO_CLASS, Place, find_layout
from explorer.data.report import NO_LABEL, DatasetReport, Item, Rejected, Split
from explorer.data.sources import Source, open_source
from explorer.errors import DataError, ImageError

Progress = Callable[[int, int], None]


def read_dataset(
    path: str | PathLike[str], out: str | PathLike[str] | None = None, progress: Progress | None = None
) -> DatasetReport:
    """Read a zip or a folder of class folders, and report what it holds.

    out: where the checked images of a zip are written, as CLASS INDEX/RUNNING NUMBER.EXTENSION; without it the zip is
    only looked at. Images of a folder stay where they are. progress(done, total) is called after each image.
    Raises DataError for hostile or unreadable archives, for one class, and for a class with fewer than two images.
    """
    report = _read(Path(path), out, progress, to_train=True)
    _check_counts(report.items, report.rejected, report.class_names)
    return report


def read_images(
    path: str | PathLike[str], out: str | PathLike[str] | None = None, progress: Progress | None = None
) -> DatasetReport:
    """Read images to evaluate: as `read_dataset`, but any number of class folders and of images in them will do.

    Where there is no class folder at all, class_names is empty and every label is NO_LABEL.
    Raises DataError for hostile or unreadable archives, and where not a single image can be used.
    """
    report = _read(Path(path), out, progress, to_train=False)
    if not report.items:
        first = report.rejected[0]
        count = f"None of the {len(report.rejected):,} images" if len(report.rejected) > 1 else "The only image"
        raise DataError(f"{count} in '{Path(path).name}' can be used; '{first.name}': {first.reason}")
    return report


def _read(path: Path, out: str | PathLike[str] | None, progress: Progress | None, to_train: bool) -> DatasetReport:
    with open_source(path) as source:
        places, passed_over = find_layout(source.names, needs_classes=to_train)
        class_names = tuple(sorted({place.class_name for place in places} - {NO_CLASS}))
        source.check_claims(place.index for place in places)
        if to_train:
            _check_classes(places, class_names)
        results = _check_images(source, _files(source, places, class_names, out), progress)
    checked = [result for result in results if isinstance(result, _Checked)]
    rejected = [result for result in results if isinstance(result, Rejected)]
    items = [result.item for result in checked]
    return DatasetReport(
        source=str(path.resolve()),
        class_names=class_names,
        items=tuple(items),
        rejected=tuple(rejected),
        passed_over={**passed_over, **source.passed_over},
        duplicates=find_duplicates(items, [result.fingerprint for result in checked]),
    )


@dataclass(frozen=True)
class _File:
    """One image of the source. found_at: its file on disk. keep_at: where to write its bytes; both may be None."""

    index: int
    name: str
    label: int
    split: Split | None
    found_at: Path | None
    keep_at: Path | None


class _Checked(NamedTuple):
    item: Item
    fingerprint: Fingerprint


def _files(
    source: Source, places: Sequence[Place], class_names: Sequence[str], out: str | PathLike[str] | None
) -> list[_File]:
    labels = {name: label for label, name in enumerate(class_names)}
    files = []
    for number, place in enumerate(places):
        name, found_at = source.names[place.index], source.file(place.index)
        label = labels.get(place.class_name, NO_LABEL)
        # Numbers, and a suffix from our own list: nothing of an archive's names reaches the disk.
        own_name = f"{label}/{number:06d}{PurePosixPath(name).suffix.lower()}"
        keep_at = None if out is None or found_at else Path(out).resolve() / own_name
        files.append(_File(place.index, name, label, place.split, found_at, keep_at))
    return files


def _check_images(source: Source, files: Sequence[_File], progress: Progress | None) -> list[_Checked | Rejected]:
    """Check all files, in order, a few at a time: one thread reads, several decode (which frees the interpreter)."""
    results: list[_Checked | Rejected] = []
    waiting: deque[Future[_Checked | Rejected]] = deque()
    workers = min(4, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        for result in _ahead(pool, source, files, waiting, workers):
            results.append(result)
            if progress is not None:
                progress(len(results), len(files))
    return results


def _ahead(
    pool: ThreadPoolExecutor, source: Source, files: Sequence[_File], waiting: deque, ahead: int
) -> Iterator[_Checked | Rejected]:
    """Like pool.map, but reading only a few files ahead, so that few images are in memory at a time."""
    for file in files:
        try:
            data = source.read(file.index)
        except DamagedEntryError as error:
            data = str(error)
        except OSError as error:
            data = f"The file can't be read ({error.strerror}); check that it is there and that you may read it."
        waiting.append(pool.submit(_check, file, data))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _check(file: _File, data: bytes | str) -> _Checked | Rejected:
    """Open one image, and keep its bytes where it is good; a string in place of the bytes says why there are none."""
    if isinstance(data, str):
        return Rejected(file.name, data)
    try:
        image = open_image(data)
    except ImageError as error:
        return Rejected(file.name, str(error))
    if file.keep_at is not None:
        _write(file.keep_at, data)
    path = file.keep_at or file.found_at
    marks = fingerprint(image)
    item = Item(
        path=None if path is None else str(path),
        name=file.name,
        label=file.label,
        split=file.split,
        sha=hashlib.sha256(data).hexdigest(),
        dhash=f"{marks.dhash:016x}",
        width=image.width,
        height=image.height,
    )
    return _Checked(item, marks)


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise DataError(
            f"The images can't be written to '{path.parent}' ({error.strerror}); free space or choose another folder."
        ) from error


def _check_classes(places: Sequence[Place], class_names: Sequence[str]) -> None:
    """Two classes at least, and none that only the validation folders have."""
    if len(class_names) < 2:
        raise DataError(f"The data set has only one class, '{class_names[0]}', but needs two or more; {LAYOUT_HELP}.")
    train = {place.class_name for place in places if place.split != "val"}
    extra = sorted(set(class_names) - train)
    if extra:
        raise DataError(
            f"Class '{extra[0]}' is among the validation folders but not in train; give both the same class folders."
        )


def _check_counts(items: Sequence[Item], rejected: Sequence[Rejected], class_names: Sequence[str]) -> None:
    """Every class needs two images, and one to train on where the split is given."""
    sides = {item.split for item in items}
    for label, name in enumerate(class_names):
        mine = [item for item in items if item.label == label]
        broken = [entry for entry in rejected if name in PurePosixPath(entry.name).parts[:-1]]
        why = f" ({len(broken)} rejected, the first because: {broken[0].reason.rstrip('.')})" if broken else ""
        if len(mine) < 2:
            found = "only one image" if mine else "no image"
            raise DataError(f"Class '{name}' has {found} that can be used{why}, but needs two or more; add images.")
        if sides != {None} and all(item.split == "val" for item in mine):
            raise DataError(f"Class '{name}' has no train image that can be used{why}; add images to its train folder.")
    if sides == {"train"}:
        raise DataError("No validation image can be used; add images to the validation folders, or leave them out.")
