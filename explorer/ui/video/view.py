"""The parts of the Video page: the clip, its settings, the run with its progress, the result."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from explorer.attention.recording import Recording
from explorer.data.video import LIMITS, Clip, pan, read_clip
from explorer.errors import VideoError
from explorer.rendering.video import LARGEST, LARGEST_GIF, gif, mp4, painted_frames, record_clip
from explorer.ui import cached
from explorer.ui.map_picker import Place, Shown, check_map, pick_map
from explorer.ui.messages import check_link, plain, show_errors
from explorer.ui.photos import copy_to_disk
from explorer.ui.state import Choice
from explorer.ui.uploads import let_go
from explorer.ui.view_settings import check_layer_and_head, head_options
from explorer.ui.widgets import progress_bar

KEPT = "video_kept"
LARGEST_UPLOAD = 500  # MB
TYPES = ["mp4", "m4v", "mov", "3gp", "webm", "mkv", "gif"]
RATES = (2, 4, 8, 12, 24)  # frames per second
PREVIEW = 128  # pixels
_MINE = "video_clip"  # the dropped clip; outlives a change of page
_DROPS = "video_drops"  # number of the drop zone's newest generation: a new key empties it
_READ = "video_read"  # (its name and rate, the clip as read at that rate)
MAP = "video_map"  # key of the picker, in links too


@dataclass(frozen=True)
class Film:
    """A finished run: what was asked, and its two files."""

    asked: tuple
    mp4: bytes
    gif: bytes
    frames: int


@dataclass(frozen=True)
class Dropped:
    """A clip that a person dropped in: `key` tells its bytes apart."""

    key: str
    name: str
    path: Path


def pick_clip(choice: Choice) -> tuple[Any, Clip] | None:
    """(what names the clip, the clip): a dropped file, or a pan over the sidebar's photo while there is none."""
    _drop_zone()
    place = st.container()
    check_link("fps", lambda text: text in map(str, RATES), f"one of {', '.join(map(str, RATES))}")
    fps = st.select_slider("Frames per second", RATES, 8, key="fps", bind="query-params")
    mine: Dropped | None = st.session_state.get(_MINE)
    with place, show_errors():
        if mine:
            return (mine.key, fps), _show_mine(mine, fps)
        clip = pan(choice.photo.image, frames=round(2 * fps), fps=fps)
        _show_pan((choice.photo.key, fps), clip, choice.photo.title)
        return (choice.photo.key, fps), clip
    return None


def _drop_zone() -> None:
    generation = st.session_state.setdefault(_DROPS, 0)
    label = f"Clip (MP4, WebM or GIF; {LIMITS})"
    file = st.file_uploader(label, TYPES, max_upload_size=LARGEST_UPLOAD, key=f"video_drop_{generation}")
    if file:
        with show_errors():
            key, path = copy_to_disk(file)
            let_go([file])
            st.session_state.update({_MINE: Dropped(key, file.name, path), _DROPS: generation + 1})
            st.rerun()


def _read(mine: Dropped, fps: int) -> Clip:
    """read_clip, once for each clip and rate: it goes through the whole file."""
    asked = mine.key, fps
    if _READ not in st.session_state or st.session_state[_READ][0] != asked:
        st.session_state[_READ] = (asked, read_clip(mine.path, fps))
    return st.session_state[_READ][1]


def _forget() -> None:
    st.session_state.pop(_MINE, None)
    st.session_state.pop(_READ, None)


def _show_mine(mine: Dropped, fps: int) -> Clip:
    """The clip's first frame and length; its name alone, with the sentence that VideoError holds, where it is none."""
    with st.container(horizontal=True, vertical_alignment="center"):
        try:
            clip = _read(mine, fps)
        except VideoError:
            _name_and_remove(mine.name)
            raise
        st.image(clip.frames[0], alt=f"The first frame of {mine.name}", width=PREVIEW)
        _name_and_remove(f"{mine.name}: {len(clip.frames)} frames, {len(clip.frames) / clip.fps:.1f} seconds")
    return clip


def _name_and_remove(words: str) -> None:
    st.caption(plain(words), width="content")
    st.button("Remove", icon=":material/delete:", type="tertiary", on_click=_forget)


def _show_pan(key: tuple, clip: Clip, title: str) -> None:
    """What stands in for a clip."""
    with st.container(horizontal=True, vertical_alignment="center", wrap=False):
        st.image(_moving(key, clip), alt=f"A pan over {title}", width=PREVIEW)
        st.caption(
            f"Until you drop one in: a pan over {plain(title)}. A square window moves from the photo's upper left to "
            "its lower right."
        )


@st.cache_data(max_entries=4, show_spinner=False)
def _moving(key: tuple, _clip: Clip) -> bytes:
    """The clip as a small GIF; key tells clips apart."""
    small = (frame.resize((2 * PREVIEW, 2 * PREVIEW)) for frame in _clip.frames)
    return gif(list(small), _clip.fps)


def pick_view(choice: Choice) -> Shown | None:
    """What is shown of every frame."""

    def recording() -> Recording:
        return cached.record(choice.model, choice.photo, choice.size, choice.fit)

    place = Place(choice.view, choice.model, recording, has_canvas=False)
    check_map(place, MAP)
    check_layer_and_head(choice.model, head_options(choice.model))
    return pick_map(place, MAP)


def run(choice: Choice, clip: Clip, shown: Shown, beside: bool, asked: tuple) -> None:
    """Record and draw every frame; a click on Cancel, as any other, ends it at the next frame."""
    st.button("Cancel", key="video_cancel", icon=":material/stop:")
    with progress_bar("Frames looked at") as progress:
        maps = record_clip(choice.model, clip, shown.view, progress, shown.second)
    # Words, not a bar: writing is so quick that a bar's own movement would lag far behind the numbers.
    with st.spinner("Writing the film …"):
        place = st.empty()
        frames, small = (painted_frames(maps, shown.view, beside, side) for side in (LARGEST, LARGEST_GIF))
        film = mp4(frames, maps.fps, lambda done, total: _show_progress(place, done, total), total=len(frames))
        st.session_state[KEPT] = Film(asked, film, gif(small, maps.fps), len(frames))
    st.rerun()


def _show_progress(place: DeltaGenerator, done: int, total: int) -> None:
    place.caption(f"{done} of {total} frames")


def result(shown: Shown, asked: tuple) -> None:
    """The newest film, where it is the one asked for."""
    film: Film | None = st.session_state.get(KEPT)
    if film is None or film.asked != asked:
        return
    st.video(film.mp4, format="video/mp4", loop=True, autoplay=True, muted=True)
    st.caption(
        f"{map_caption(shown)}; {film.frames} frames in one colour scale, from the lowest to the highest value of the "
        "whole clip."
    )
    left, right = st.columns(2)
    left.download_button("MP4", film.mp4, "attention.mp4", "video/mp4", on_click="ignore", width="stretch")
    right.download_button("GIF", film.gif, "attention.gif", "image/gif", on_click="ignore", width="stretch")


def map_caption(shown: Shown) -> str:
    """The map in a few words: "Layer 9, mean of heads", "Rollout", "Relevance for cat"."""
    row = shown.view.map.row
    named = "" if row.live else row.title + (f" for {plain(shown.title)}" if shown.title else "")
    settings = (setting.caption(shown.view.map[setting.name]) for setting in row.settings)
    words = ", ".join(filter(None, [named, *settings]))
    return words[:1].upper() + words[1:]
