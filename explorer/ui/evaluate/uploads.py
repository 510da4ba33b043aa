"""Uploads of the Evaluate page on disk, each set of files under a name that the address may hold over a reload."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from streamlit.runtime.uploaded_file_manager import UploadedFile

from explorer.data.class_folders import SUFFIXES
from explorer.errors import DataError
from explorer.training.runs.json_files import fits
from explorer.ui.datasets import data_suffix, keep_data, uploads_folder, used_before

LIST = ".given"  # ends the files that tell which uploads belong together, and what people call them
NAME = re.compile(r"[0-9a-f]{16}")  # nothing else, and no path, is ever taken from an address
GONE = "The images of this address are no longer on the server: drop them here again."


@dataclass(frozen=True)
class Given:
    """Uploaded images as (name, path), or one zip."""

    images: tuple[tuple[str, Path], ...] = ()
    zip: tuple[str, Path] | None = None

    @property
    def files(self) -> tuple[tuple[str, Path], ...]:
        """The images or the zip as (name, path)."""
        return (self.zip,) if self.zip else self.images

    @property
    def title(self) -> str:
        """What people call it."""
        return self.files[0][0] if len(self.files) == 1 else f"{len(self.files):,} images"

    @property
    def name(self) -> str:
        """What an address calls it: the same for the same files under the same names."""
        return hashlib.sha256(_listed(self).encode()).hexdigest()[:16]


def keep(files: Sequence[UploadedFile]) -> Given:
    """The uploads on disk; DataError where a zip didn't come alone."""
    zips = [file for file in files if file.name.lower().endswith(".zip")]
    if zips and len(files) > 1:
        raise DataError("Drop either one zip or single images, not both at once.")
    if zips:
        return Given(zip=(zips[0].name, keep_data(zips[0], data_suffix(zips[0].name))))
    names = _distinct([file.name for file in files])
    paths = [keep_data(file, _suffix(file.name)) for file in files]
    return Given(images=tuple(zip(names, paths, strict=True)))


def remember(given: Given) -> None:
    """Note which uploads belong together, so that recall(given.name) finds them; DataError where the disk is full."""
    path = uploads_folder() / f"{given.name}{LIST}"
    try:
        path.write_text(_listed(given), encoding="utf-8")
    except OSError as error:
        path.unlink(missing_ok=True)
        raise DataError(f"The upload can't be kept on disk ({error.strerror}): free some space there.") from error


def recall(name: str) -> Given:
    """The uploads of that name; DataError where they are gone."""
    path = uploads_folder() / f"{name}{LIST}"
    if not NAME.fullmatch(name) or not path.is_file():
        raise DataError(GONE)
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        listed = {}
    if not fits(listed, {"zip": bool, "files": [[PurePath]]}) or not all(len(pair) == 2 for pair in listed["files"]):
        raise DataError(GONE)
    files = tuple((title, uploads_folder() / file) for title, file in listed["files"])
    if not all(file.is_file() for _, file in files):
        raise DataError(GONE)
    return Given(zip=files[0]) if listed["zip"] else Given(images=files)


def zips_before() -> dict[str, str]:
    """{file name: title} of the zips on disk, those from Fine-tune as well; single photos aren't offered to all."""
    return {name: title for name, title in used_before().items() if name.endswith(".zip")}


def _listed(given: Given) -> str:
    files = [(title, path.name) for title, path in given.files]
    return json.dumps({"zip": given.zip is not None, "files": files}, ensure_ascii=False)


def _suffix(name: str) -> str:
    suffix = Path(name).suffix.lower()
    return suffix if suffix in SUFFIXES else ".file"  # a stranger's words don't name files here


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, with a number after those that came before."""
    found: list[str] = []
    for name in names:
        number, free = 2, name
        while free in found:
            number, free = number + 1, f"{name} ({number})"
        found.append(free)
    return found
