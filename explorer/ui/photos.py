"""The photos of a session: samples that come along, those a person dropped in or took, and the picker that shows one.

A person's own lie on disk, named by their digest.
"""

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

import streamlit as st
from PIL import Image, ImageOps
from streamlit.delta_generator import DeltaGenerator
from streamlit.runtime.uploaded_file_manager import UploadedFile

from explorer import paths
from explorer.data.images import open_image
from explorer.data.samples import SAMPLES, sample_photo
from explorer.errors import DiskError, ImageError
from explorer.ui.address import by_key, keep_in_address, take, write
from explorer.ui.components.pictures import photo_strip
from explorer.ui.messages import check_link, say, sentence_of
from explorer.ui.uploads import keep_upload, largest_upload, let_go
from explorer.visitors.quotas import GB
from explorer.visitors.settings import settings

FOLDER_LIMIT = 2 * 2**30  # bytes of dropped photos and clips on disk, over all sessions; the oldest go first
OF_A_WORKSPACE = 0.25  # the share that a visitor's photos may take of their room
THUMBNAIL = 112  # pixels
MIRRORED = "mirrored:"  # begins the key of such a copy
CLOSER = 0.8  # of the sides
_MINE = "my_photos"
STRIP = "photo_strip"
PHOTO = "photo"  # the setting in the address: the name of a sample, or MINE and the key of a photo of this session
MINE = "mine-"
GONE = "The photo of this address is no longer here: photos go with the window they were dropped in. Drop it again."
TYPES = ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif", "ppm"]
LARGEST_PHOTO = 100  # MB
_PICKED = "photo_key"
_ALIKE = "alike"  # names the photo that a page adds to the choices of a second one
_DROPS = "photo_drops"  # number of the drop zone's newest generation: a new key empties it
_SHOTS = "photo_shots"  # photos taken so far; the camera's key has it, so that each photo leaves the camera ready again


@dataclass(frozen=True)
class Photo:
    """One photo: `source` names it in links and files ("sample:cat", "IMG_1.jpg"), `key` tells its bytes apart."""

    key: str
    source: str
    title: str

    @property
    def image(self) -> Image.Image:
        """The whole photo, RGB and upright; ImageError where its file is gone."""
        return _open(self.key, _place(self.key), self.title)

    @property
    def thumbnail(self) -> bytes:
        """A small JPEG of it."""
        return _thumbnail(self.key, _place(self.key), self.title)


def samples() -> list[Photo]:
    """The photos that come along."""
    return [Photo(f"sample:{name}", f"sample:{name}", title) for name, title in SAMPLES.items()]


def mirror(photo: Photo) -> Photo:
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
        _open(digest, path, photo.title)
    except ImageError:
        path.unlink(missing_ok=True)
        raise
    mine = my_photos()
    st.session_state[_MINE] = [*(old for old in mine if old.key != digest), photo]
    return photo


def clear_photos() -> None:
    """Forget the session's own photos."""
    st.session_state[_MINE] = []


def _folder() -> Path:
    """Where dropped photos and clips lie: in the visitor's workspace, else in a folder for temporary files."""
    own = paths.workspace()
    if own is None:
        return Path(_temporary_folder().name)
    try:
        (own / "photos").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(f"A folder for photos can't be made ({error.strerror}).") from error
    return own / "photos"


@st.cache_resource(show_spinner=False)
def _temporary_folder() -> TemporaryDirectory:
    return TemporaryDirectory(prefix="vit-explorer-photos-")


def copy_to_disk(file: IO[bytes]) -> tuple[str, Path]:
    """(digest, path) of the copy of a photo or clip; DiskError where the disk is full."""
    limit = FOLDER_LIMIT if paths.workspace() is None else round(OF_A_WORKSPACE * settings().disk * GB)
    path = keep_upload(file, _folder(), "", limit)
    return path.name, path


def _place(key: str) -> Path | None:
    """The file of a photo; None for a sample."""
    digest = key.removeprefix(MIRRORED)
    return None if digest.startswith("sample:") else _folder() / digest


@st.cache_resource(show_spinner=False, max_entries=2)
def _open(key: str, path: Path | None, _title: str) -> Image.Image:
    if key.startswith(MIRRORED):
        return _turn_round(_open(key.removeprefix(MIRRORED), path, _title))
    if path is None:
        return sample_photo(key.removeprefix("sample:"))
    if not path.is_file():
        raise ImageError("This photo is no longer on the server; drop it in again.")
    return open_image(path, _title)


def _turn_round(image: Image.Image) -> Image.Image:
    width, height = (max(1, round(CLOSER * side)) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return ImageOps.mirror(image.crop((left, top, left + width, top + height)))


@st.cache_data(show_spinner=False, max_entries=300)
def _thumbnail(key: str, path: Path | None, _title: str) -> bytes:
    image = _open(key, path, _title)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    small = image.resize((THUMBNAIL, THUMBNAIL), box=(left, top, left + side, top + side))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=80)
    return file.getvalue()


def pick_photo() -> Photo:
    """The picker, and the photo that it shows."""
    _drop_zone()
    _camera()
    _forget_gone()
    choices = [*my_photos(), *samples()]
    photo = _picked(choices)
    photo_strip({one.key: (one.title, one.thumbnail) for one in choices}, photo.key, STRIP, on_pick=_take_pick)
    if my_photos():
        st.button("Clear my photos", icon=":material/delete:", type="tertiary", on_click=_clear)
    _mirror_in_address(photo)
    return photo


def _forget_gone() -> None:
    """Let go of photos whose files went: the oldest go from a full folder, all with a workspace that is deleted."""
    mine = my_photos()
    here = [photo for photo in mine if (_folder() / photo.key).is_file()]
    if gone := len(mine) - len(here):
        st.session_state[_MINE] = here
        which = "A photo of yours is" if gone == 1 else f"{gone:,} photos of yours are"
        say(f"{which} no longer on the server: drop what you still need in again.")


def pick_photo_next(photo: Photo) -> None:
    """Have the picker show that photo, one of the session's or a sample, from the next run on."""
    st.session_state[_PICKED] = photo.key


def pick_second_photo(label: str, key: str, first: str, alike: Photo | None = None) -> Photo:
    """One of the session's photos and the samples, at first another than the one of source `first`.

    alike: another photo that is on offer, too, and chosen at first.
    """
    photos = {photo.key: photo for photo in (*my_photos(), *samples())}
    default = next((name for name, photo in photos.items() if photo.source != first), next(iter(photos)))
    if alike:
        default, photos = _ALIKE, {_ALIKE: alike, **photos}
    counts = Counter(photo.title for photo in photos.values())
    labels = {
        name: photo.title if counts[photo.title] == 1 else f"{photo.title} ({name[:6]})"
        for name, photo in photos.items()
    }
    check_link(key, lambda text: _read_second(labels, text) is not None, f"one of {', '.join(SAMPLES)}")
    take(key, lambda text: _read_second(labels, text), default)
    name = st.selectbox(label, list(photos), key=key, format_func=labels.__getitem__, persist_state="session")
    sample = photos[name].source.removeprefix("sample:")
    write(key, sample if sample in SAMPLES and name != default else None)
    return photos[name]


def _read_second(labels: dict[str, str], text: str) -> str | None:
    """A photo by its key, a sample also by its name alone, as links have it."""
    return f"sample:{text}" if text in SAMPLES else by_key(labels)(text)


def _picked(choices: Sequence[Photo]) -> Photo:
    keep_in_address(_PICKED)
    if _PICKED not in st.session_state:
        st.session_state[_PICKED] = _named(st.query_params.get(PHOTO, ""), choices)
    wanted = st.session_state[_PICKED]
    return next((photo for photo in choices if photo.key == wanted), samples()[0])


def _named(name: str, choices: Sequence[Photo]) -> str:
    """The key of the photo that an address names; a sentence where it names none."""
    if not name.startswith(MINE):
        check_link(PHOTO, SAMPLES.__contains__, f"one of {', '.join(SAMPLES)}")
        return f"sample:{name}"
    key = name.removeprefix(MINE)
    if key not in (photo.key for photo in choices):
        say(GONE)
    return key


def _take_pick() -> None:
    # None where Streamlit calls this again for the same click, since the run behind it was overtaken by another.
    if (picked := st.session_state[STRIP]["picked"]) is not None:
        st.session_state[_PICKED] = picked


def _clear() -> None:
    clear_photos()
    st.session_state.pop(_PICKED, None)


def _mirror_in_address(photo: Photo) -> None:
    if photo == samples()[0]:
        write(PHOTO, None)
    else:
        sample = photo.key.startswith("sample:")
        write(PHOTO, photo.key.removeprefix("sample:") if sample else MINE + photo.key)


def _drop_zone() -> None:
    place = st.empty()
    if files := _uploader(place):
        _add(files)
        let_go(files)
        st.session_state[_DROPS] += 1
        _uploader(place)  # an empty one instead, in the same run


def _uploader(place: DeltaGenerator) -> list[UploadedFile]:
    generation = st.session_state.setdefault(_DROPS, 0)
    # Any kind of file is let in: open_image says what is wrong with it and what would work, the browser would not.
    # Not on_change: Streamlit calls it again where the run behind it is overtaken by another.
    return place.file_uploader(
        "Your photos", accept_multiple_files=True, key=f"drop_{generation}",
        max_upload_size=largest_upload(LARGEST_PHOTO),
        help="Drop one or more here: JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or PPM.",
    )  # fmt: skip


def _camera() -> None:
    if not st.toggle("Camera", key="camera_on"):
        return
    shots = st.session_state.setdefault(_SHOTS, 0)
    # By default the camera takes a picture as narrow as the sidebar.
    st.camera_input(
        "Take a photo", key=f"camera_{shots}", label_visibility="collapsed", resolution="720p", on_change=_take_camera,
    )  # fmt: skip


def _take_camera() -> None:
    shots = st.session_state[_SHOTS]
    # None where Streamlit calls this again for the same photo, since the run behind it was overtaken by another.
    if taken := st.session_state.get(f"camera_{shots}"):
        _add([taken], f"camera-{shots + 1}.jpg")
        let_go([taken])
        st.session_state[_SHOTS] = shots + 1


def _add(files: Sequence[UploadedFile], name: str | None = None) -> None:
    for file in files:
        try:
            st.session_state[_PICKED] = add_photo(file, name or file.name).key
        except (DiskError, ImageError) as error:
            say(sentence_of(error))
