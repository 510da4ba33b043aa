"""A zip or a folder as a list of file names whose bytes can be read one at a time."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from explorer.data.archives import DamagedEntryError, SafeZip, open_archive
from explorer.data.class_folders import is_picture
from explorer.data.spelling import shown
from explorer.errors import DataError
from explorer.words import list_in_words, size_in_words

LARGEST = 10**9  # bytes of a photo in a folder
LISTED = 6  # linked folders that a note names


class Source(Protocol):
    """Files by index; names are in alphabetical order, so that the same files always count alike.

    folders: those that may hold nothing, the empty ones among them.
    """

    names: list[str]
    folders: list[str]
    passed_over: dict[str, int]
    notes: tuple[str, ...]

    def check_claims(self, indices: Iterable[int]) -> None:
        """Raise DataError where these files would pass a limit."""
        ...

    def read(self, index: int) -> bytes:
        """The file's bytes; DamagedEntryError or OSError where this one file can't be read."""
        ...

    def file(self, index: int) -> Path | None:
        """Where the file lies on disk, if it does."""
        ...


@contextmanager
def open_source(path: Path, title: str | None = None) -> Iterator[Source]:
    """The zip or folder at `path`, in errors `title`; DataError where there is none, or where the zip is hostile."""
    if path.is_dir():
        yield _FolderSource(path)
    elif path.is_file():
        with open_archive(path, title=title) as archive:
            yield _ZipSource(archive)
    else:
        raise DataError(f"There is no zip or folder at '{path}'; check the path.")


def find_images(paths: Sequence[str | os.PathLike[str]]) -> list[str]:
    """The paths as they are, but in a folder's place all images in it and below, in the order of their names.

    A folder without an image stays, for open_image to refuse by name.
    """
    found: list[str] = []
    for path in (os.fspath(path) for path in paths):
        inside = filter(is_picture, _FolderSource(Path(path)).names) if os.path.isdir(path) else ()
        found += [os.path.join(path, *name.split("/")) for name in inside] or [path]
    return found


class _ZipSource:
    def __init__(self, archive: SafeZip):
        self._archive = archive
        self._entries = sorted(archive.entries, key=lambda entry: entry.name)
        self.names = [entry.name for entry in self._entries]
        self.folders = archive.folders
        self.passed_over: dict[str, int] = {}
        self.notes = (archive.note,) if archive.note else ()

    def check_claims(self, indices: Iterable[int]) -> None:
        self._archive.check_claims(self._entries[index] for index in indices)

    def read(self, index: int) -> bytes:
        return self._archive.read(self._entries[index])

    def file(self, index: int) -> Path | None:
        return None


class _FolderSource:
    def __init__(self, root: Path):
        self._root = root.resolve()
        links: list[str] = []
        names: list[str] = []
        self.folders = []
        for folder, below, files in os.walk(self._root):
            links += [name for name in below if (Path(folder) / name).is_symlink()]  # which os.walk does not follow
            names += [(Path(folder) / name).relative_to(self._root).as_posix() for name in files]
            if not below and not files:
                self.folders.append(Path(folder).relative_to(self._root).as_posix())
        self.names = sorted(names)
        self.passed_over = {"linked folders": len(links)} if links else {}
        named = list_in_words([f"'{shown(name)}'" for name in sorted(links)[:LISTED]])
        self.notes = (f"Linked folders aren't followed: {named}; copy them here if they are classes.",) if links else ()

    def check_claims(self, indices: Iterable[int]) -> None:
        pass  # a folder's files make no claims

    def read(self, index: int) -> bytes:
        path = self.file(index)
        if path.exists() and not path.is_file():
            raise DamagedEntryError("It is a pipe or a device, not a file; copy the photo itself here.")
        if path.stat().st_size > LARGEST:
            raise DamagedEntryError(f"It is larger than {size_in_words(LARGEST)}; make it smaller.")
        return path.read_bytes()

    def file(self, index: int) -> Path:
        return self._root / self.names[index]
