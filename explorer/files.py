"""Files that are written whole or not at all: whoever reads one meanwhile sees the old one."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import get_ident


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A file beside `path` for the block to write; it takes the place of `path` if the block ends without an error.

    Who may read and write the file stays as it was.
    """
    # A file's name takes at most 255 bytes, and a letter up to four of them.
    partial = path.with_name(f".{path.name[:40]}.{os.getpid()}-{get_ident()}.partial")
    try:
        yield partial
        with suppress(FileNotFoundError):  # a new file
            shutil.copymode(path, partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def stamp(path: str | Path) -> tuple[int, int, int] | None:
    """What tells a file from another that takes its place under that name; None where there is none."""
    try:
        about = os.stat(path)
    except OSError:
        return None
    return about.st_ino, about.st_size, about.st_mtime_ns


def write_whole(path: Path, contents: str | bytes) -> None:
    """Write bytes, or a text in UTF-8, whole or not at all; half of a character (of a name that is no text) escaped."""
    with whole_file(path) as partial:
        partial.write_bytes(contents if isinstance(contents, bytes) else contents.encode("utf-8", "backslashreplace"))
