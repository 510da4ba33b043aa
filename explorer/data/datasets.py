"""Read a zip or folder of class folders: every image is opened and checked, nothing is silently dropped."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import NamedTuple

from explorer.data.archives import DamagedEntryError
from explorer.data.class_folders import LAYOUT_HELP, NO_CLASS, Place, find_layout
from explorer.data.decoding import FULL_SIZE
from explorer.data.duplicates import Fingerprint, find_duplicates, fingerprint
from explorer.data.images import open_image, thumbnail
from explorer.data.report import NO_LABEL, DatasetReport, Item, Rejected, Split
from explorer.data.sources import Source, open_source
from explorer.errors import DataError, DiskError, ImageError

Progress = Callable[[int, int], None]


def read_dataset(
    path: str | PathLike[str], out: str | PathLike[str] | None = None, progress: Progress | None = None
) -> DatasetReport:
    """Read a zip or a folder of class folders, and report what it holds.

    out: where the checked images of a zip are written, as CLASS INDEX/RUNNING NUMBER.EXTENSION; without it the zip is
    only looked at, and where it is refused nothing stays there. Images of a folder stay where they are.
    progress(done, total) is called after each image.
    Raises DataError for hostile or unreadable archives, for one class, and for a class with fewer than two images.
    """
    return read_source(Path(path), None if out is None else Path(out), progress)


def read_images(
    path: str | PathLike[str], out: str | PathLike[str] | None = None, progress: Progress | None = None
) -> DatasetReport:
    """Read images to evaluate: as `read_dataset`, but any number of class folders and of images in them will do.

    Where there is no class folder at all, class_names is empty and every label is NO_LABEL.
    Raises DataError for hostile or unreadable archives, and where not a single image can be used.
    """
    return read_source(Path(path), None if out is None else Path(out), progress, to_train=False)


def read_source(
    path: Path,
    out: Path | None,
    progress: Progress | None,
    *,
    to_train: bool = True,
    thumbnails: Path | None = None,
    title: str | None = None,
) -> DatasetReport:
    """`read_dataset` or, with to_train=False, `read_images`; the report is the same where both accept the data.

    thumbnails: a folder for a small JPEG of each image that is written to `out`, under the same name and ".jpg".
    title: what errors call the data set; by default the name of its file or folder.
    """
    title = title or path.name
    with open_source(path, title) as source, ExitStack() as undo:
        places, class_names, passed_over, notes = _layout(source, title, to_train)
        files = _files(source, places, class_names, out, thumbnails)
        undo.callback(_remove, files)
        results = _check_images(source, files, progress)
        checked = [result for result in results if isinstance(result, _Checked)]
        items = [result.item for result in checked]
        report = DatasetReport(
            source=str(path.resolve()),
            class_names=class_names,
            items=tuple(items),
            rejected=tuple(result for result in results if isinstance(result, Rejected)),
            passed_over={**passed_over, **source.passed_over},
            duplicates=find_duplicates(items, [result.fingerprint for result in checked]),
            notes=(*source.notes, *notes),
        )
        (check_trainable if to_train else check_evaluable)(report, title)
        undo.pop_all()
    return report


class Listing:
    """The images of a zip or folder by their names alone: places, class_names and notes as a report has them."""

    def __init__(self, source: Source, path: Path):
        self.source, self.path, self._lock = source, path, Lock()
        self.places, self.class_names, _, notes = _layout(source, path.name, to_train=False)
        self.notes = (*source.notes, *notes)

    def name(self, place: Place) -> str:
        return self.source.names[place.index]

    def file(self, place: Place) -> str | None:
        """Where the image lies on disk, if it does."""
        path = self.source.file(place.index)
        return None if path is None else str(path)

    def side(self, split: Split) -> list[Place]:
        return [place for place in self.places if place.split == split]

    def read_named(self, name: str) -> bytes:
        """read() of the image of that name."""
        return self.read(next(place for place in self.places if self.name(place) == name))

    def read(self, place: Place) -> bytes:
        """The bytes of an image's file, in any thread; ImageError where they can't be had."""
        with self._lock:
            return _read(self.source, place.index)


@contextmanager
def open_listing(path: str | PathLike[str]) -> Iterator[Listing]:
    """The images to evaluate in a zip or folder, none of them opened; the DataErrors of `check_listing`."""
    with open_source(Path(path)) as source:
        yield Listing(source, Path(path))


def check_listing(path: str | PathLike[str], *, to_train: bool = True) -> None:
    """Raise the DataError of `read_dataset` or `read_images` that the names of the files are enough for.

    No image is opened, so that takes no time.
    """
    with open_source(Path(path)) as source:
        _layout(source, Path(path).name, to_train)


def _layout(
    source: Source, title: str, to_train: bool
) -> tuple[list[Place], tuple[str, ...], Mapping[str, int], Sequence[str]]:
    """Places of the images, class names, what is passed over, and notes."""
    try:
        places, passed_over, notes = find_layout(source.names, f"'{title}'", source.folders)
    except DataError as error:
        raise DataError(" ".join((str(error), *source.notes))) from error
    class_names = tuple(sorted({place.class_name for place in places} - {NO_CLASS}))
    source.check_claims(place.index for place in places)
    if to_train:
        _check_classes(class_names, len(places), title)
        _check_sides(places, class_names, title)
    return places, class_names, passed_over, notes


def check_trainable(report: DatasetReport, title: str | None = None) -> None:
    """Raise DataError unless there are two classes or more, each with two images and one to train on.

    title: what errors call the data set; by default the name of its file or folder.
    """
    title = title or Path(report.source).name
    _check_classes(report.class_names, len(report.items), title)
    sides = {item.split for item in report.items}
    for label, name in enumerate(report.class_names):
        mine = [item for item in report.items if item.label == label]
        broken = [entry for entry in report.rejected if name in PurePosixPath(entry.name).parts[:-1]]
        why = f" ({len(broken)} rejected, the first because: {broken[0].reason.rstrip('.')})" if broken else ""
        if len(mine) < 2:
            found = "only one image" if mine else "no image"
            raise DataError(
                f"Class '{name}' of '{title}' has {found} that can be used{why}, but needs two or more; add images."
            )
        if sides != {None} and all(item.split == "val" for item in mine):
            raise DataError(
                f"Class '{name}' of '{title}' has no train image that can be used{why}; add images to its train folder."
            )
    if sides == {"train"}:
        raise DataError(
            f"No validation image of '{title}' can be used; add images to the validation folders, or leave them out."
        )


def check_evaluable(report: DatasetReport, title: str | None = None) -> None:
    """Raise DataError where not a single image can be used; title as check_trainable's."""
    if not report.items:
        first = report.rejected[0]
        count = f"None of the {len(report.rejected):,} images" if len(report.rejected) > 1 else "The only image"
        raise DataError(f"{count} in '{title or Path(report.source).name}' can be used; '{first.name}': {first.reason}")


def _check_classes(class_names: Sequence[str], images: int, title: str) -> None:
    if not class_names:
        raise DataError(f"'{title}' holds {images} images but no class folders; {LAYOUT_HELP}.")
    if len(class_names) < 2:
        raise DataError(f"'{title}' has only one class, '{class_names[0]}', but needs two or more; {LAYOUT_HELP}.")


def _check_sides(places: Sequence[Place], class_names: Sequence[str], title: str) -> None:
    """No class that only the validation folders have."""
    train = {place.class_name for place in places if place.split != "val"}
    extra = sorted(set(class_names) - train)
    if extra:
        raise DataError(
            f"Class '{extra[0]}' of '{title}' is among the validation folders but not in train; give both the same "
            "class folders."
        )


@dataclass(frozen=True)
class _File:
    """One image of the source. found_at: its file on disk. keep_at: where to write its bytes, thumbnail_at: where a
    small picture of it. All may be None.
    """

    index: int
    name: str
    label: int
    split: Split | None
    found_at: Path | None
    keep_at: Path | None
    thumbnail_at: Path | None


class _Checked(NamedTuple):
    item: Item
    fingerprint: Fingerprint


def _files(
    source: Source, places: Sequence[Place], class_names: Sequence[str], out: Path | None, thumbnails: Path | None
) -> list[_File]:
    labels = {name: label for label, name in enumerate(class_names)}
    files = []
    for number, place in enumerate(places):
        name, found_at = source.names[place.index], source.file(place.index)
        label = labels.get(place.class_name, NO_LABEL)
        # Numbers, and a suffix from our own list: nothing of an archive's names reaches the disk.
        own_name = f"{label}/{number:06d}{PurePosixPath(name).suffix.lower()}"
        keep_at = None if out is None or found_at else out.resolve() / own_name
        thumbnail_at = thumbnails / f"{own_name}.jpg" if thumbnails and keep_at else None
        files.append(_File(place.index, name, label, place.split, found_at, keep_at, thumbnail_at))
    return files


def _remove(files: Sequence[_File]) -> None:
    """Delete what was written of data that can't be used, and the folders that this leaves empty."""
    written = [path for file in files for path in (file.keep_at, file.thumbnail_at) if path is not None]
    for path in written:
        with suppress(OSError):
            path.unlink()
    for depth in (0, 1):
        for folder in {path.parents[depth] for path in written}:
            with suppress(OSError):
                folder.rmdir()


def _check_images(source: Source, files: Sequence[_File], progress: Progress | None) -> list[_Checked | Rejected]:
    """Check all files, in order, a few at a time: one thread reads, several decode (which frees the interpreter)."""
    results: list[_Checked | Rejected] = []
    waiting: deque[Future[_Checked | Rejected]] = deque()
    workers = min(4, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        for result in _check_ahead(pool, source, files, waiting, workers):
            results.append(result)
            if progress is not None:
                progress(len(results), len(files))
    return results


def _check_ahead(
    pool: ThreadPoolExecutor, source: Source, files: Sequence[_File], waiting: deque, ahead: int
) -> Iterator[_Checked | Rejected]:
    """Like pool.map, but reading only a few files ahead, so that few images are in memory at a time."""
    for file in files:
        try:
            data = _read(source, file.index)
        except ImageError as error:
            data = str(error)
        waiting.append(pool.submit(_check, file, data))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _read(source: Source, index: int) -> bytes:
    """The bytes of a file; ImageError where they can't be had."""
    try:
        return source.read(index)
    except DamagedEntryError as error:
        raise ImageError(str(error)) from error
    except OSError as error:
        raise ImageError(
            f"The file can't be read ({error.strerror}); check that it is there and that you may read it."
        ) from error


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
    if file.thumbnail_at is not None:
        _write(file.thumbnail_at, thumbnail(image))
    path = file.keep_at or file.found_at
    marks = fingerprint(image)
    width, height = image.info.get(FULL_SIZE, image.size)
    item = Item(
        path=None if path is None else str(path),
        name=file.name,
        label=file.label,
        split=file.split,
        sha=hashlib.sha256(data).hexdigest(),
        dhash=f"{marks.dhash:016x}",
        width=width,
        height=height,
    )
    return _Checked(item, marks)


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise DiskError(
            f"The images can't be written to '{path.parent}' ({error.strerror}); free space or choose another folder."
        ) from error
