"""How much disk a visitor, and all together, may take."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from filelock import FileLock

from explorer import paths
from explorer.errors import RoomError
from explorer.visitors.settings import settings
from explorer.visitors.workspace import all_workspaces
from explorer.words import size_in_words

GB = 10**9
PART = ".part-"  # begins the names of files that hold room
ABANDONED = 24 * 60 * 60  # seconds since the last byte of one that a killed server left
_LOCK = ".quotas.lock"  # among the workspaces
FRESH = 60  # seconds for which another visitor's size counts as known
_known: dict[Path, tuple[float, int]] = {}  # (when it was measured, bytes) of each workspace


def used_bytes(folder: Path) -> int:
    """What a folder takes on disk; a file with two names counts once."""
    seen: dict[int, int] = {}
    for place, _, files in os.walk(folder):
        for name in files:
            try:
                about = os.lstat(os.path.join(place, name))
            except OSError:  # just deleted
                continue
            seen[about.st_ino] = about.st_size
    return sum(seen.values())


def used_lately(folder: Path) -> int:
    """used_bytes(), measured once a minute: what a page may ask in every run."""
    now = time.monotonic()
    measured, size = _known.get(folder, (float("-inf"), 0))
    if now - measured > FRESH:
        size = used_bytes(folder)
        _known[folder] = (now, size)
    return size  # not _known's: another visitor's thread may tidy that up meanwhile


def used_by_all() -> int:
    """What all workspaces take, each measured once a minute."""
    folders = all_workspaces()
    for gone in set(_known) - set(folders):
        _known.pop(gone, None)
    return sum(map(used_lately, folders))


def free_bytes(folder: Path) -> int:
    """How much more a visitor's workspace may take."""
    given = settings()
    _known.pop(folder, None)
    own = used_lately(folder)
    return max(0, int(min(given.disk * GB - own, given.disk_all * GB - used_by_all())))


def check_room(wanted: int) -> None:
    """Raise RoomError where this thread's visitor may not use so many more bytes; without one there is no limit."""
    own = paths.workspace()
    if own is None:
        return
    free = free_bytes(own)
    if wanted > free:
        raise RoomError(
            f"This takes {size_in_words(wanted)}, and you have {size_in_words(free)} left on this server: delete files "
            "of yours in the sidebar, below Your files, or ask the host for room."
        )


@contextmanager
def hold_room(size: int, folder: Path) -> Iterator[IO[bytes]]:
    """An empty file of that many bytes in the folder, for the block to fill or just to keep; gone after it.

    It counts from the start, so that what is checked and what is taken are one step for all windows, servers and
    machines that share the workspaces. RoomError where this thread's visitor may not use so much; OSError where the
    file can't be made.
    """
    own = paths.workspace()
    part = NamedTemporaryFile(dir=folder, prefix=PART, delete=False)  # noqa: SIM115 (closed below)
    try:
        with part:
            if own is not None:
                with FileLock(own.parent / _LOCK):
                    _drop_leftovers(folder)
                    check_room(size)
                    part.truncate(size)
                    _known.pop(own, None)
            yield part
    finally:
        Path(part.name).unlink(missing_ok=True)  # once it is closed: Windows deletes no open file


def _drop_leftovers(folder: Path) -> None:
    for part in folder.glob(f"{PART}*"):
        with suppress(FileNotFoundError):
            if time.time() - part.stat().st_mtime > ABANDONED:
                part.unlink()
