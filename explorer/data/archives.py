"""Read an untrusted zip: every entry is checked by name, then read in pieces within limits; nothing is extracted.

Sizes in a zip's headers are claims. They may refuse an entry early, but what counts is the bytes that really come out.
"""

import io
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from explorer.data.spelling import shown
from explorer.data.zip_names import decode_names
from explorer.errors import DataError
from explorer.words import size_in_words

NESTED = frozenset(
    (".zip", ".tar", ".tgz", ".gz", ".bz2", ".tbz2", ".xz", ".txz", ".7z", ".rar", ".zst", ".cab", ".iso")
)
_CHUNK = 1 << 16
# 16 MB of directory lists some 100,000 entries; zipfile would turn a larger one into gigabytes of Python objects.
_MAX_DIRECTORY_BYTES = 16_000_000
# Below this much output the ratio is left alone: small drawings on plain paper pack better than 100 to 1.
_RATIO_FREE_BYTES = 1_000_000
_SYSTEM_FOLDERS = frozenset(  # of macOS, Windows, and Synology's network storage, which keeps thumbnails in @eaDir
    ("__macosx", "$recycle.bin", "system volume information", "lost+found", "@eadir", "#recycle")
)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others may unpack without bound in a single call
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, struct.error, NotImplementedError, ValueError, OSError)


@dataclass(frozen=True)
class Limits:
    """What one archive may hold; bytes count as unpacked."""

    entries: int = 20_000
    file_bytes: int = 50_000_000
    total_bytes: int = 2_000_000_000
    ratio: int = 100


class DamagedEntryError(DataError):
    """One entry's bytes are broken; the others can still be read."""


class Entry(NamedTuple):
    """A file in the archive: its vetted name, with "/" between folders, and the header it came from."""

    name: str
    info: zipfile.ZipInfo


class SafeZip:
    """A zip whose entries were vetted; `read` gives one entry's bytes and keeps count against the limits."""

    def __init__(self, archive: zipfile.ZipFile, size: int, limits: Limits, title: str):
        self._archive, self._size, self._limits, self._title = archive, size, limits, title
        self._read_bytes = 0
        names = decode_names(archive.infolist())
        self.note = names.note  # a sentence where the names had to be guessed, else ""
        self.entries: list[Entry] = list(_vet(archive.infolist(), names.names, limits, title))
        self.folders = [name for name in map(_shown_name, names.names) if name.endswith("/")]

    def check_claims(self, entries: Iterable[Entry]) -> None:
        """Refuse by the headers' claims what `read` would refuse later; DataError names the entry."""
        total = 0
        for entry in entries:
            total += entry.info.file_size
            self._check(entry, entry.info.file_size, total)

    def read(self, entry: Entry) -> bytes:
        """The entry's bytes; DataError past a limit, DamagedEntryError where they can't be unpacked."""
        data = io.BytesIO()
        try:
            with self._archive.open(entry.info) as stream:
                while chunk := stream.read(_CHUNK):
                    data.write(chunk)
                    self._read_bytes += len(chunk)
                    self._check(entry, data.tell(), self._read_bytes)
        except _DAMAGE as error:
            raise DamagedEntryError(f"It is damaged inside the zip ({error}); make the zip again.") from error
        return data.getvalue()

    def _check(self, entry: Entry, size: int, total: int) -> None:
        limits, title = self._limits, self._title
        packed = min(entry.info.compress_size, self._size)
        if size > limits.file_bytes:
            raise _refused(title, entry.name, f"unpacks to more than {size_in_words(limits.file_bytes)}")
        if size > max(_RATIO_FREE_BYTES, limits.ratio * packed):
            raise _refused(
                title, entry.name, f"unpacks to more than {limits.ratio} times its packed size, as zip bombs do"
            )
        if total > limits.total_bytes:
            most = size_in_words(limits.total_bytes)
            raise DataError(f"'{title}' unpacks to more than {most}; send fewer images, or give a folder.")
        if total > max(_RATIO_FREE_BYTES, limits.ratio * self._size):
            raise DataError(
                f"'{title}' unpacks to more than {limits.ratio} times its size, as zip bombs do; it was not read."
            )


@contextmanager
def open_archive(
    path: str | PathLike[str], limits: Limits | None = None, title: str | None = None
) -> Iterator[SafeZip]:
    """Open and vet a zip file; DataError says what is wrong with it, naming the entry at fault.

    title: what errors call the zip; by default its file's name.
    """
    path = Path(path)
    title = title or path.name
    size = path.stat().st_size
    if size == 0:
        raise DataError(f"'{title}' is empty (0 bytes); choose a zip of class folders with images.")
    with _CappedReader(io.FileIO(path), title) as file:
        try:
            archive = zipfile.ZipFile(file)
        except (*_DAMAGE, UnicodeDecodeError) as error:
            message = f"'{title}' isn't a zip file, or is cut short ({error}); make the zip again and send it whole."
            raise DataError(message) from error
        with archive:
            yield SafeZip(archive, size, limits or Limits(), title)


def unpacked_bytes(path: Path, title: str | None = None) -> int:
    """What the files of a zip take when they are unpacked; the DataErrors of open_archive."""
    with open_archive(path, title=title) as archive:
        return sum(entry.info.file_size for entry in archive.entries)


class _CappedReader(io.BufferedReader):
    """A file that refuses to read a zip's directory of absurd size at once."""

    def __init__(self, file: io.FileIO, title: str):
        super().__init__(file)
        self._title = title

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:
            size = _MAX_DIRECTORY_BYTES  # only asked for to read the last few bytes
        if size > _MAX_DIRECTORY_BYTES:
            raise DataError(f"'{self._title}' lists far too many files; send a smaller one, or give a folder.")
        return super().read(size)


def _vet(infos: list[zipfile.ZipInfo], names: Sequence[str], limits: Limits, title: str) -> Iterator[Entry]:
    count = 0
    for info, meant in zip(infos, names, strict=True):
        name = _shown_name(meant)
        _refuse_by_name(title, name, info)
        if info.is_dir() or name.endswith("/"):
            continue
        # A zip made on a Mac holds a shadow of every file; those must not halve the limit.
        count += not is_system_file(name)
        if count > limits.entries:
            raise DataError(
                f"'{title}' holds more than {limits.entries:,} files; send a smaller one, or give a folder."
            )
        yield Entry(name, info)


def _shown_name(name: str) -> str:
    """The name with slashes, composed letters, and the code of each sign that can't be seen in its place."""
    return shown(unicodedata.normalize("NFC", name.replace("\\", "/")))


def _refuse_by_name(title: str, name: str, info: zipfile.ZipInfo) -> None:
    path = PurePosixPath(name)
    mode = stat.S_IFMT(info.external_attr >> 16)
    if path.is_absolute() or name[1:2] == ":":
        raise _refused(title, name, "has an absolute path")
    if ".." in path.parts:
        raise _refused(title, name, "has a path that leads out of the zip ('..')")
    if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _refused(title, name, "is a link or a special file, not a file of its own")
    if info.flag_bits & 0x41:
        raise _refused(title, name, "is encrypted", "make the zip without a password")
    if is_system_file(name) or info.is_dir():
        return
    if path.suffix.lower() in NESTED:
        raise _refused(title, name, "is an archive inside the zip", "unpack it and zip the class folders themselves")
    if info.compress_type not in _METHODS:
        raise _refused(title, name, "is packed by a rare method", "make the zip with the usual one (deflate)")


def is_system_file(name: str) -> bool:
    """Whether an operating system left this file behind: __MACOSX, dotfiles, Thumbs.db, a recycle bin, @eaDir."""
    parts = PurePosixPath(name).parts
    return any(part.startswith(".") or part.lower() in _SYSTEM_FOLDERS for part in parts) or (
        bool(parts) and parts[-1].lower() in ("thumbs.db", "desktop.ini", "ehthumbs.db")
    )


def _refused(
    title: str, name: str, reason: str, remedy: str = "make a zip of plain class folders with images"
) -> DataError:
    return DataError(f"'{title}' was refused because '{_shorten(name)}' {reason}; {remedy}.")


def _shorten(name: str) -> str:
    return name if len(name) <= 100 else f"{name[:48]}…{name[-48:]}"
