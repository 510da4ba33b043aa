"""A pickled weights file is first read in a process of its own, which can be ended: a server has other visitors.

A pickle of a few kilobytes can keep a reader busy for ever, fill the memory or crash the process, even where it may
only make tensors and plain containers.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

import psutil

from explorer import paths
from explorer.errors import CheckpointError

SECONDS, BYTES_A_SECOND = 60.0, 20e6  # a reader's own time to start in, and the slowest disk
MEMORY = 3 * 2**30  # bytes beside twice those of the file: the reader takes half a gigabyte for itself
POLL = 0.05  # seconds between two looks at it
REMEMBERED = 1000
_wanted: ContextVar[bool] = ContextVar("wanted", default=False)
_passed: set[tuple[int, ...]] = set()  # device, number, time of change and size of files that were read to the end


@contextmanager
def tried_first() -> Iterator[None]:
    """In this thread, until the end, every pickled weights file is read in another process before it is here."""
    token = _wanted.set(True)
    try:
        yield
    finally:
        _wanted.reset(token)


def try_reading(path: Path) -> None:
    """Raise CheckpointError where another process can't read the file in bounded time and memory; once per file.

    Nothing is done outside tried_first(). What is wrong with a file that can be read to its end is left to the reader.
    """
    if not _wanted.get():
        return
    status = path.stat()
    stamp = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
    if stamp in _passed:
        return
    _watch(path, SECONDS + status.st_size / BYTES_A_SECOND, MEMORY + 2 * status.st_size)
    if len(_passed) >= REMEMBERED:
        _passed.clear()
    _passed.add(stamp)


def _watch(path: Path, seconds: float, memory: int) -> None:
    command = [sys.executable, "-m", __name__, str(path.resolve())]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=paths.PROJECT, **quiet)
    try:
        ended = _ended(process, time.monotonic() + seconds, memory)
    finally:
        process.kill()
        with suppress(subprocess.TimeoutExpired):  # one that waits for a disk can't be killed
            process.wait(timeout=1)
    if ended is not None:
        raise CheckpointError(f"{path.name} {ended}, as no weights do: save only the state_dict() and give that file.")


def _ended(process: subprocess.Popen, deadline: float, memory: int) -> str | None:
    """What the process did that it had to be ended for, or ended by; None where it came to its end."""
    began = time.monotonic()
    watched = psutil.Process(process.pid)
    while (code := process.poll()) is None:
        if time.monotonic() > deadline:
            return f"wasn't read after {deadline - began:.0f} s"
        with suppress(psutil.Error):  # it has ended just now
            if watched.memory_info().rss > memory:
                return f"took over {memory / 2**30:.1f} GB to read"
        time.sleep(POLL)
    return "broke its reader" if code else None


def _read(path: Path) -> None:
    from explorer.models.formats.reading import read_contents

    with suppress(CheckpointError):  # which the next reader says
        read_contents(path)


if __name__ == "__main__":
    _read(Path(sys.argv[1]))
