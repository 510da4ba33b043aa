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

READER = "explorer.models.formats.reading"  # run as a program; it imports this module
SECONDS, BYTES_A_SECOND = 30.0, 40e6  # of a processor: for the start and the containers, and for plain old pickles
PATIENCE = 10
MEMORY = 3 * 2**30  # bytes beside twice those of the file: the reader takes half a gigabyte for itself
POLL = 0.05  # seconds between two looks at it
REMEMBERED = 1000
_wanted: ContextVar[bool] = ContextVar("wanted", default=False)
_passed: set[tuple[int, ...]] = set()  # device, number, time of change and size of files that were read to the end


@contextmanager
def trial_reading() -> Iterator[None]:
    """In this thread, until the end, every pickled weights file is read in another process before it is here."""
    token = _wanted.set(True)
    try:
        yield
    finally:
        _wanted.reset(token)


def try_reading(path: Path) -> None:
    """Raise CheckpointError where another process can't read the file in bounded time and memory; once per file.

    Does nothing outside trial_reading(). What is wrong with a file that can be read is left to the reader.
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
    command = [sys.executable, "-m", READER, str(path.resolve())]
    nothing = subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=paths.PACKAGE.parent, stdin=nothing, stdout=nothing, stderr=nothing)
    try:
        ended = _ended(process, seconds, memory)
    finally:
        process.kill()
        with suppress(subprocess.TimeoutExpired):  # one that waits for a disk can't be killed
            process.wait(timeout=1)
    if ended is not None:
        raise CheckpointError(f"{path.name} {ended}, as no weights do: save only the state_dict() and give that file.")


def _ended(process: subprocess.Popen, seconds: float, memory: int) -> str | None:
    """What the process did that it had to be ended for, or ended by; None where it came to its end.

    seconds: of a processor, which a busy machine makes no fewer; of the clock it may take PATIENCE times as many.
    """
    deadline = time.monotonic() + PATIENCE * seconds
    watched = psutil.Process(process.pid)
    while (code := process.poll()) is None:
        with suppress(psutil.Error):  # it has ended just now
            if sum(watched.cpu_times()[:2]) > seconds or time.monotonic() > deadline:
                return f"wasn't read after {seconds:.0f} s"
            if watched.memory_info().rss > memory:
                return f"took over {memory / 2**30:.1f} GB to read"
        time.sleep(POLL)
    return "broke its reader" if code else None
