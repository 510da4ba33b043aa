"""The photos of a session: samples that come along, and those a person dropped in, kept on disk by their digest."""

import io
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

import streamlit as st
from PIL import Image, ImageOps

from explorer.data.images import open_image
from explorer.data.samples import SAMPLES, sample_photo
from explorer.errors import ImageError
from explorer.ui.uploads import keep_upload

FOLDER_LIMIT = 2 * 2**30  # bytes of dropped photos and clips on disk, over all sessions; the oldest go first
THUMBNAIL = 112  # pixels
MIRRORED = "mirrored:"  # begins the key of such a copy
CLOSER = 0.8  # of the sides
_MINE = "my_photos"


@dataclass(frozen=True)
class Photo:
    """One photo: `source` names it in links and files ("sample:cat", "IMG_1.jpg"), `key` tells its bytes apart."""

    key: str
    source: str
    title: str

    @property
    def image(self) -> Image.Image:
        """The whole photo, RGB and upright; ImageError where its file is gone."""
        return _open(self.key)

    @property
    def thumbnail(self) -> bytes:
        """A small JPEG of it."""
        return _thumbnail(self.key)


def samples() -> list[Photo]:
    """The photos that come along."""
    return [Photo(f"sample:{name}", f"sample:{name}", title) for name, title in SAMPLES.items()]


def mirrored(photo: Photo) -> Photo:
    """The photo from closer by and turned left to right: other pixels of the same thing."""
    return Photo(f"{MIRRORED}{photo.key}", photo.source, f"{photo.title}, mirrored and closer")


def my_photos() -> list[Photo]:
    """What the person of this session dropped in or took, oldest first."""
    return st.session_state.setdefault(_MINE, [])


def add_photo(file: IO[bytes], name: str) -> Photo:
    """Copy the file to disk, check that it is an image, and put it among the session's photos.

    Raises ImageError, and keeps nothing, where it is none, and DiskError where the disk is full.
    """
    digest, path = copy_to_disk(file)
    photo = Photo(digest, Path(name).name, Path(name).name)
    try:
        _open(digest)
    except ImageError as error:
        path.unlink(missing_ok=True)
        raise ImageError(str(error).replace(f"'{digest}'", f"'{photo.title}'", 1)) from error
    mine = my_photos()
    st.session_state[_MINE] = [*(old for old in mine if old.key != digest), photo]
    return photo


def clear_photos() -> None:
    """Forget the session's own photos."""
    st.session_state[_MINE] = []


@st.cache_resource(show_spinner=False)
def _folder() -> TemporaryDirectory:
    return TemporaryDirectory(prefix="vit-explorer-photos-")


def copy_to_disk(file: IO[bytes]) -> tuple[str, Path]:
    """(digest, path) of the copy of a photo or clip; DiskError where the disk is full."""
    path = keep_upload(file, Path(_folder().name), "", FOLDER_LIMIT)
    return path.name, path


@st.cache_resource(show_spinner=False, max_entries=2)
def _open(key: str) -> Image.Image:
    if key.startswith(MIRRORED):
        return _mirror(_open(key.removeprefix(MIRRORED)))
    if key.startswith("sample:"):
        return sample_photo(key.removeprefix("sample:"))
    path = Path(_folder().name) / key
    if not path.is_file():
        raise ImageError("This photo is no longer on the server; drop it in again.")
    return open_image(path)


def _mirror(image: Image.Image) -> Image.Image:
    width, height = (max(1, round(CLOSER * side)) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return ImageOps.mirror(image.crop((left, top, left + width, top + height)))


@st.cache_data(show_spinner=False, max_entries=300)
def _thumbnail(key: str) -> bytes:
    image = _open(key)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    small = image.resize((THUMBNAIL, THUMBNAIL), box=(left, top, left + side, top + side))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=80)
    return file.getvalue()
