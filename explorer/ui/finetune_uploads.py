"""Files that people upload to train on or to evaluate: copied to disk in pieces, the oldest dropped when it is full."""

import hashlib
import os
import shutil
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from explorer.errors import DataError
from explorer.training.jobs import list_runs
from explorer.training.options import runs_folder

CHUNK = 2**20
LIMIT = 8 * 2**30  # bytes of uploads on disk, of all sessions


def uploads_folder() -> Path:
    """Where uploads, and the images read out of them, lie."""
    folder = runs_folder() / ".uploads"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def keep_upload(file: IO[bytes], suffix: str) -> Path:
    """The upload on disk, named by its content; it goes through memory a piece at a time."""
    digest = hashlib.sha256()
    try:
        with NamedTemporaryFile(dir=uploads_folder(), prefix=".part-", delete=False) as part:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                part.write(chunk)
        path = uploads_folder() / f"{digest.hexdigest()[:16]}{suffix}"
        os.replace(part.name, path)
    except OSError as error:
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
