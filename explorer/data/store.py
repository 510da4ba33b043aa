"""Data sets that were read once: a folder for each, named by its content, with the report and the checked images."""

import hashlib
import os
import re
import shutil
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from explorer.data.datasets import Progress, check_evaluable, check_trainable, read_source
from explorer.data.report import DatasetReport, Item
from explorer.errors import DataError, DiskError
from explorer.files import write_whole

ENDING = ".data"  # of the folders of data sets
CHANGES = ".changes"  # of the files of what a person changed of them
REPORT, IMAGES, THUMBNAILS = "report.json", "images", "thumbnails"
DIGEST = 16  # hex digits of a file's or a listing's sha256 that name it
_UPLOAD = re.compile(rf"[0-9a-f]{{{DIGEST}}}(?=-)")
_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


def stored_folder(path: Path, store: Path) -> Path:
    """Where in `store` the data set at `path` is kept; OSError where there is none.

    What lies in the store itself never changes: an upload's name begins with its content's digest. Of other zips and
    folders the names, sizes and times of their files tell whether they are what was read.
    """
    if path.parent == store:
        match = _UPLOAD.match(path.name)
        return store / f"{match.group() if match else path.name}{ENDING}"
    digest = hashlib.sha256()
    for file in _files(path):
        about = file.stat()
        digest.update(f"{file}\0{about.st_size}\0{about.st_mtime_ns}\n".encode(errors="surrogatepass"))
    return store / f"{digest.hexdigest()[:DIGEST]}{ENDING}"


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path.resolve()
        return
    for folder, below, files in os.walk(path.resolve()):
        below.sort()
        yield from (Path(folder) / name for name in sorted(files))


def changes_file(path: Path, store: Path) -> Path:
    """Where in `store` changes of the data set at `path` are kept: by the content of what lies there, else by the path.

    They know each photo by its content, so they still fit a folder that has grown since.
    """
    path = path.resolve()
    if path.parent == store:
        return stored_folder(path, store).with_suffix(CHANGES)
    return store / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:DIGEST]}{CHANGES}"


def read_once(
    path: Path, folder: Path, progress: Progress | None = None, to_train: bool = True, title: str | None = None
) -> DatasetReport:
    """The report on the data set at `path`, from `folder` where it was read before, else read into it.

    DataError where it can't be used, to train on or to evaluate; of data that are refused nothing new is kept.
    title: what errors call the data set; by default the name of its file or folder.
    """
    with _lock(folder):
        report = load_stored(folder)
        if report is None:
            return _read(path, folder, progress, to_train, title)
    (check_trainable if to_train else check_evaluable)(report, title)
    return report


def _read(path: Path, folder: Path, progress: Progress | None, to_train: bool, title: str | None) -> DatasetReport:
    shutil.rmtree(folder, ignore_errors=True)  # of a reading that broke off
    done = False
    try:
        folder.mkdir(parents=True)
        report = read_source(
            path, folder / IMAGES, progress, to_train=to_train, thumbnails=folder / THUMBNAILS, title=title
        )
        write_whole(folder / REPORT, report.to_json())
        done = True
        return report
    except OSError as error:
        raise DiskError(
            f"The data set can't be kept in '{folder.parent}' ({error.strerror}): free some space there."
        ) from error
    finally:
        if not done:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """One reading of a data set at a time in this process: whoever comes second finds it read."""
    with _locks[str(folder)]:
        yield


def load_stored(folder: Path) -> DatasetReport | None:
    """The report in a data set's folder; None where there is none, or where images that it lists are gone."""
    try:
        report = DatasetReport.from_json((folder / REPORT).read_text(encoding="utf-8"))
    except (OSError, DataError):
        return None
    return report if all(item.path and Path(item.path).is_file() for item in report.items) else None


def find_stored(folder: Path, path: Path) -> DatasetReport | None:
    """`load_stored`, but None as well where the data set at `path` changed since it was read."""
    try:
        unchanged = stored_folder(path, folder.parent) == folder
    except OSError:
        unchanged = True  # it is gone, but what was read of it is there
    return load_stored(folder) if unchanged else None


def hand_over(report: DatasetReport, out: Path, store: Path | None = None) -> DatasetReport:
    """The report with files of its own below `out`: links to those in `store`, copies where links can't be made.

    Images that lie in the folder they were read from stay there, unless that lies in the store, which is tidied.
    DiskError where the disk is full.
    """
    source = Path(report.source)
    items = []
    for number, item in enumerate(report.items):
        file = item.file
        if source in file.parents and (store is None or store not in file.parents):
            items.append(item)
        else:
            items.append(_link(item, out.resolve() / f"{item.label}/{number:06d}{file.suffix}"))
    return replace(report, items=tuple(items))


def _link(item: Item, target: Path) -> Item:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        try:
            os.link(item.file, target)
        except OSError:  # another disk, or one that knows no links
            shutil.copyfile(item.file, target)
    except OSError as error:
        raise DiskError(
            f"The images can't be written to '{target.parent}' ({error.strerror}); free space there."
        ) from error
    return replace(item, path=str(target))


def stored_thumbnail(image: Path) -> Path | None:
    """The small JPEG of a stored image, if there is one."""
    label, images = image.parent, image.parent.parent
    thumbnail = images.with_name(THUMBNAILS) / label.name / f"{image.name}.jpg" if images.name == IMAGES else None
    return thumbnail if thumbnail and thumbnail.is_file() else None
