"""The data sets that people upload to train on or to evaluate: kept in one folder, read once for all pages."""

import re
from collections import OrderedDict
from pathlib import Path
from typing import IO

import streamlit as st

from explorer import paths
from explorer.data.builtin import BUILTIN
from explorer.data.datasets import check_evaluable, check_trainable
from explorer.data.report import DatasetReport
from explorer.data.store import REPORT, read_once, stored_folder
from explorer.errors import DataError, DiskError
from explorer.training.runs.jobs import list_runs
from explorer.ui.uploads import keep_upload

# Of the names that keep_data and write_builtin give; nothing else, and no path, is ever taken from an address.
DATA_SET = re.compile(rf"[0-9a-f]{{16}}-(?P<zip>[\w.-]+\.zip)|(?P<builtin>({'|'.join(BUILTIN)})-\d+)")
KEPT_REPORTS = 8
LARGEST = 2000  # MB of one upload
LIMIT = 8 * 2**30  # bytes of uploads on disk, of all sessions


def uploads_folder() -> Path:
    """Where uploads, and the images read out of them, lie."""
    folder = paths.runs() / ".uploads"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(f"The folder {folder} for uploads can't be made ({error.strerror}).") from error
    return folder


def used_before() -> dict[str, str]:
    """{file name: title} of the data sets that lie there and were read in before, the newest first."""
    paths = sorted(uploads_folder().iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    return {path.name: data_title(path.name) for path in paths if DATA_SET.fullmatch(path.name)}


def data_title(path: str) -> str:
    """What people call the data set at that path."""
    name = Path(path).name
    match = DATA_SET.fullmatch(name)
    return (match["zip"] or match["builtin"]) if match else name


def data_suffix(title: str) -> str:
    """What keep_data adds to a data set's name, so that used_before() lists it under its title."""
    stem = re.sub(r"[^\w.-]+", "-", title.removesuffix(".zip"))[:60]
    return f"-{stem}.zip"


def forget_upload(path: Path) -> None:
    """Delete a file that was uploaded; one that lies elsewhere stays."""
    if path.parent == uploads_folder() and path.is_file():
        path.unlink()


def keep_data(file: IO[bytes], suffix: str) -> Path:
    """The upload on disk, named by its content; the oldest that no run under way still reads make room for it."""
    runs = [run.options for run in list_runs(paths.runs()) if run.options and run.state.active]
    in_use = {Path(name).name for options in runs for name in (options.data, options.stored) if name}
    return keep_upload(file, uploads_folder(), suffix, LIMIT, in_use)


@st.cache_resource(show_spinner=False)
def _reports() -> OrderedDict[Path, DatasetReport]:
    return OrderedDict()  # shared by all sessions; a cached function could not draw the progress bar


def read_data(path: Path, title: str, to_train: bool = True) -> DatasetReport:
    """What is in a data set, read once for all pages while it stays as it is.

    DataError where it can't be used: of one that was just uploaded nothing is kept then, unless the disk is at fault.
    """
    folder = data_place(path, title)
    known = folder.is_dir()
    try:
        return _report(path, folder, to_train)
    except DiskError:
        raise
    except DataError as error:
        if not known:
            forget_upload(path)
        raise DataError(_as_known(str(error), path, title)) from error


def _report(path: Path, folder: Path, to_train: bool) -> DatasetReport:
    reports = _reports()
    if folder in reports and (folder / REPORT).is_file():
        (check_trainable if to_train else check_evaluable)(reports[folder])
    else:
        reports[folder] = _read_with_progress(path, folder, to_train)
        while len(reports) > KEPT_REPORTS:
            reports.popitem(last=False)
    return reports[folder]


def data_place(path: Path, title: str) -> Path:
    """The folder of what was, or will be, read of a data set; DataError where the data set is gone."""
    try:
        return _stored_folder(path, path.stat().st_mtime, uploads_folder())
    except OSError as error:
        raise DataError(f"'{title}' is no longer on the server: choose it again.") from error


@st.cache_data(show_spinner=False, ttl="30s", max_entries=50)
def _stored_folder(path: Path, changed: float, store: Path) -> Path:
    """stored_folder without going through all files of a large folder at every rerun."""
    return stored_folder(path, store)


def _as_known(sentence: str, path: Path, title: str) -> str:
    """The sentence about the data set by the name that the person knows: another one may stand on the page as well."""
    sentence = sentence.replace(f"'{path.name}'", f"'{title}'")
    for words in ("The data set ", "The zip "):
        if sentence.startswith(words):
            return f"'{title}' {sentence.removeprefix(words)}"
    return sentence if f"'{title}'" in sentence else f"In '{title}': {sentence}"


def _read_with_progress(path: Path, folder: Path, to_train: bool) -> DatasetReport:
    bar = st.progress(0.0, "Reading the images")

    def show(done: int, total: int) -> None:
        bar.progress(done / total, f"Reading the images: {done:,} of {total:,}")

    try:
        return read_once(path, folder, show, to_train)
    finally:
        bar.empty()
