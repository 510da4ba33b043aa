"""Uploaded files: kept on disk by their content, within a limit, and then let go by Streamlit's memory."""

import hashlib
import os
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import IO

from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.uploaded_file_manager import UploadedFile

from explorer import paths
from explorer.data.store import DIGEST
from explorer.errors import DiskError
from explorer.visitors.quotas import GB, PART, hold_room
from explorer.visitors.settings import settings

CHUNK = 2**20


def largest_upload(most: int) -> int:
    """The MB of one file that an uploader takes: so many, or all of a visitor's room where that is less."""
    return most if paths.workspace() is None else max(1, min(most, int(settings().disk * GB / 2**20)))


def keep_upload(file: IO[bytes], folder: Path, suffix: str, limit: int, in_use: Collection[str] = ()) -> Path:
    """The upload in `folder`, named DIGEST and suffix; it goes through memory a piece at a time.

    Above `limit` bytes in the folder the oldest go, but neither this one nor the names in use. DiskError where the
    disk, or the visitor's share of it, is full: then nothing of it stays, and nothing else goes.
    """
    digest = hashlib.sha256()
    try:
        with hold_room(_size(file), folder) as part:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                part.write(chunk)
            part.close()
            path = folder / f"{digest.hexdigest()[:DIGEST]}{suffix}"
            _put(Path(part.name), path)
    except OSError as error:
        raise DiskError(f"The upload can't be kept on disk ({error.strerror}): free some space there.") from error
    trim(folder.iterdir(), limit, {path.name, *in_use})
    return path


def _size(file: IO[bytes]) -> int:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size


def _put(part: Path, path: Path) -> None:
    """Name the finished upload; the same content under another name becomes a link to that, and takes no room."""
    same = next((other for other in path.parent.glob(f"{path.name[:DIGEST]}-*") if other != path), None)
    path.unlink(missing_ok=True)
    if same is not None and same.is_file():
        try:
            os.link(same, path)
            os.utime(path)
            return
        except OSError:  # a disk without links
            path.unlink(missing_ok=True)
    part.replace(path)


def trim(paths: Iterable[Path], limit: int, kept: Collection[str]) -> None:
    """Drop the oldest of the files and folders above `limit` bytes in all, but none of the names that are kept."""
    seen: set[int] = set()
    total = 0
    for path in sorted(paths, key=time_of_change, reverse=True):
        total += _bytes(path, seen)
        if total <= limit or path.name in kept or path.name.startswith(PART):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def time_of_change(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # another session's trimming was faster
        return 0.0


def _bytes(path: Path, seen: set[int]) -> int:
    """Bytes of a file or folder; what has two names counts once."""
    total = 0
    for file in path.rglob("*") if path.is_dir() else [path]:
        try:
            about = file.stat()
        except OSError:
            continue
        if file.is_file() and about.st_ino not in seen:
            seen.add(about.st_ino)
            total += about.st_size
    return total


def let_go(files: Iterable[UploadedFile]) -> None:
    """Free the memory of files that were copied to disk.

    The uploader must get a new key as well: with the old one it would still name files that are gone. A new key alone
    empties the uploader but frees nothing, since only the cross beside a file makes the browser ask for its removal.
    """
    context = get_script_run_ctx()
    if context is None or not isinstance(context.uploaded_file_mgr, MemoryUploadedFileManager):
        return
    for file in files:
        context.uploaded_file_mgr.remove_file(context.session_id, file.file_id)
