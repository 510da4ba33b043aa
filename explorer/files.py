"""Files that are written whole or not at all: whoever reads one meanwhile sees the old one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import get_ident


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A file beside `path` for the block to write; it takes the place of `path` if the block ends without an error."""
    partial = path.with_name(f".{path.name}.{os.getpid()}-{get_ident()}.partial")
    try:
        yield partial
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


def write_whole(path: Path, text: str) -> None:
    """Write a text in UTF-8 whole or not at all; half of a character, as in a name that is no text, is escaped."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")
