"""Files that people upload to train on or to evaluate: copied to disk in pieces, the oldest dropped when it is full."""

import hashlib
import os
import re
import shutil
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from explorer.data.builtin import BUILTIN
from explorer.errors import DataError
from explorer.training.jobs import list_runs
from explorer.training.options import runs_folder

CHUNK = 2**20
# Of the names that keep_upload and write_builtin give; nothing else, and no path, is ever taken from an address.
DATA_SET = re.compile(rf"[0-9a-f]{{16}}-(?P<zip>[\w.-]+\.zip)|(?P<builtin>({'|'.join(BUILTIN)})-\d+)")
LIMIT = 8 * 2**30  # bytes of uploads on disk, of all sessions


def uploads_folder() -> Path:
    """Where uploads, and the images read out of them, lie."""
    folder = runs_folder() / ".uploads"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"The folder {folder} for uploads can't be made ({error.strerror}).") from error
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
    """What keep_upload adds to a data set's name, so that used_before() lists it under its title."""
    stem = re.sub(r"[^\w.-]+", "-", title.removesuffix(".zip"))[:60]
    return f"-{stem}.zip"


def forget_upload(path: Path) -> None:
    """Delete a file that was uploaded; one that lies elsewhere stays."""
    if path.parent == uploads_folder() and path.is_file():
        path.unlink()


def keep_upload(file: IO[bytes], suffix: str) -> Path:
    """The upload on disk, named by its content; it goes through memory a piece at a time."""
    digest, part = hashlib.sha256(), None
    try:
        with NamedTemporaryFile(dir=uploads_folder(), prefix=".part-", delete=False) as part:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                part.write(chunk)
        path = uploads_folder() / f"{digest.hexdigest()[:16]}{suffix}"
        os.replace(part.name, path)
    except OSError as error:
        if part is not None:
            Path(part.name).unlink(missing_ok=True)
        raise DataError(f"The upload can't be kept on disk ({error.strerror}): free some space there.") from error
    trim(uploads_folder(), path, LIMIT)
    return path


def trim(folder: Path, newest: Path, limit: int) -> None:
    """Drop the oldest uploads above `limit` bytes, but neither the newest nor what a run under way still reads."""
    kept = {newest.name} | {
        Path(run.options.data).name for run in list_runs(runs_folder()) if run.options and run.state.active
    }
    total = 0
    for path in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True):
        total += _bytes(path)
        if total <= limit or path.name in kept:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
