"""The photo picker: a drop zone for one's own, the camera, samples that come along, and thumbnails to switch."""

from collections import Counter
from collections.abc import Sequence

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from explorer.data.samples import SAMPLES
from explorer.errors import DiskError, ImageError
from explorer.ui.address import by_key, keep_in_address, take, write
from explorer.ui.components.photo_strip import photo_strip
from explorer.ui.messages import check_link, say, sentence_of
from explorer.ui.photos import Photo, add_photo, clear_photos, my_photos, samples
from explorer.ui.uploads import let_go

STRIP = "photo_strip"
PHOTO = "photo"  # the setting in the address: the name of a sample, or MINE and the key of a photo of this session
MINE = "mine-"
GONE = "The photo of this address is no longer here: photos go with the window they were dropped in. Drop it again."
TYPES = ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif", "ppm"]
LARGEST = 100  # MB
_PICKED = "photo_key"
_ALIKE = "alike"  # names the photo that a page adds to the choices of a second one
_DROPS = "photo_drops"  # number of the drop zone's newest generation: a new key empties it
_SHOTS = "photo_shots"  # photos taken so far; the camera's key has it, so that each photo leaves the camera ready again


def pick_photo() -> Photo:
    """The picker, and the photo that it shows."""
    _drop_zone()
    _camera()
    choices = [*my_photos(), *samples()]
    photo = _picked(choices)
    photo_strip(choices, photo, STRIP, on_pick=_take_pick)
    if my_photos():
        st.button("Clear my photos", icon=":material/delete:", type="tertiary", on_click=_clear)
    _mirror_in_address(photo)
    return photo


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
    st.session_state[_PICKED] = st.session_state[STRIP]["picked"]


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
    generation = st.session_state.setdefault(_DROPS, 0)
    # Any kind of file is let in: open_image says what is wrong with it and what would work, the browser would not.
    files = st.file_uploader(
        "Your photos", accept_multiple_files=True, max_upload_size=LARGEST, key=f"drop_{generation}",
        help="Drop one or several here: JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or PPM.",
    )  # fmt: skip
    if files:
        _add(files)
        let_go(files)
        st.session_state[_DROPS] = generation + 1
        st.rerun()


def _camera() -> None:
    if not st.toggle("Camera", key="camera_on"):
        return
    shots = st.session_state.setdefault(_SHOTS, 0)
    # Left to itself, the camera is asked for a picture as narrow as the sidebar.
    st.camera_input(
        "Take a photo", key=f"camera_{shots}", label_visibility="collapsed", resolution="720p", on_change=_take_camera,
    )  # fmt: skip


def _take_camera() -> None:
    shots = st.session_state[_SHOTS]
    if taken := st.session_state[f"camera_{shots}"]:
        _add([taken], f"camera-{shots + 1}.jpg")
        let_go([taken])
        st.session_state[_SHOTS] = shots + 1


def _add(files: Sequence[UploadedFile], name: str | None = None) -> None:
    for file in files:
        try:
            st.session_state[_PICKED] = add_photo(file, name or file.name).key
        except (DiskError, ImageError) as error:
            say(sentence_of(error))
