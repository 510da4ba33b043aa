"""The parts of the Video page: the clip, its settings, the run with its progress, the result."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from explorer.attention.queries import FUSIONS, head_name
from explorer.data.video import LIMITS, Clip, pan, read_clip
from explorer.errors import VideoError
from explorer.models.backbone import Model
from explorer.rendering.video import LARGEST, LARGEST_GIF, gif, mp4, painted_frames, record_clip
from explorer.rendering.view import View
from explorer.ui import cached
from explorer.ui.address import by_key, take, write_unless
from explorer.ui.attention_settings import check_layer_and_head, default_layer
from explorer.ui.map_choice import Shown, check_rollout, class_title, like_photo, pick_class, pick_rollout
from explorer.ui.messages import check_link, plain, show_errors
from explorer.ui.photos import copy_to_disk
from explorer.ui.progress import progress_bar
from explorer.ui.state import Choice
from explorer.ui.uploads import let_go

KEPT = "video_kept"
LARGEST_UPLOAD = 500  # MB
TYPES = ["mp4", "m4v", "mov", "webm", "gif"]
RATES = (2, 4, 8, 12, 24)  # frames a second
PREVIEW = 96  # pixels
_MINE = "video_clip"  # the dropped clip; outlives a change of page
_DROPS = "video_drops"  # number of the drop zone's newest generation: a new key empties it
_READ = "video_read"  # (its name and rate, the clip as read at that rate)
KINDS = {"raw": "Attention", "rollout": "Rollout", "relevance": "Relevance"}


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
    fps = st.select_slider("Frames a second", RATES, 8, key="fps", bind="query-params")
    mine: Dropped | None = st.session_state.get(_MINE)
    with place, show_errors():
        if mine:
            return (mine.key, fps), _show_mine(mine, fps)
        clip = pan(choice.photo.image, frames=round(2 * fps), fps=fps)
        _show_pan(clip, choice.photo.title)
        return (choice.photo.key, fps), clip
    return None


def _drop_zone() -> None:
    generation = st.session_state.setdefault(_DROPS, 0)
    label = f"Clip (MP4, WebM or GIF; {LIMITS})"
    file = st.file_uploader(label, TYPES, max_upload_size=LARGEST_UPLOAD, key=f"video_drop_{generation}")
    if file:
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


def _show_pan(clip: Clip, title: str) -> None:
    """What stands in for a clip."""
    with st.container(horizontal=True, vertical_alignment="center", wrap=False):
        st.image(clip.frames[0], alt=f"The first frame of a pan over {title}", width=PREVIEW)
        st.caption(
            f"Until you drop one in: a pan over {title}. A square window moves from the photo's upper left to its "
            "lower right; this is the first frame."
        )


def pick_view(choice: Choice) -> Shown:
    """What is shown of every frame."""
    check_link("video_map", lambda text: by_key(KINDS)(text) is not None, f"one of {', '.join(KINDS)}")
    check_rollout(choice.model.depth)
    heads = [*FUSIONS, *map(str, range(choice.model.num_heads))]
    check_layer_and_head(choice.model, heads)
    take("video_map", by_key(KINDS), "raw")
    kind = st.segmented_control(
        "Map", list(KINDS), format_func=KINDS.__getitem__, required=True, key="video_map", persist_state="session"
    )
    write_unless("video_map", "raw")
    view = View(**choice.settings)
    if kind == "rollout":
        return Shown(pick_rollout(view, choice.model.depth), "")
    return _pick_relevance(choice, view) if kind == "relevance" else Shown(_pick_raw(choice.model, view, heads), "")


def _pick_raw(model: Model, view: View, heads: list[str]) -> View:
    layer_at, head_at = st.columns([3, 2], gap="large")
    layer = layer_at.slider("Layer", 0, model.depth - 1, default_layer(model), key="layer", bind="query-params")
    if st.session_state.get("head") not in (None, *heads):
        st.session_state["head"] = "mean"
    head = str(head_at.select_slider("Head", heads, "mean", key="head", bind="query-params"))
    return replace(view, layer=layer, head=head if head in FUSIONS else int(head))


def _pick_relevance(choice: Choice, view: View) -> Shown:
    """For a class, or each frame's own; without classes, for the likeness to another photo."""
    view = replace(view, kind="relevance")
    rec = cached.record(choice.model, choice.photo, choice.size, choice.fit, choice.arch, choice.num_heads)
    if rec.logits is None:
        st.caption("This model has no classes. Shown is what makes each frame like another photo.")
        return like_photo(rec, view)
    target = pick_class(rec)
    title = "each frame's predicted class" if target is None else class_title(rec, target)
    return Shown(replace(view, target=target), title)


def run(choice: Choice, clip: Clip, shown: Shown, beside: bool, asked: tuple) -> None:
    """Record and draw every frame; a click on Cancel, as any other, ends it at the next frame."""
    st.button("Cancel", key="video_cancel", icon=":material/stop:")
    with progress_bar("Frames looked at") as progress:
        maps = record_clip(choice.model, clip, shown.view, progress, shown.second)
    # Words, not a bar: writing is so quick that a bar's own movement would lag far behind the numbers.
    with st.spinner("Writing the film …"):
        place = st.empty()
        frames, small = (painted_frames(maps, shown.view, beside, side) for side in (LARGEST, LARGEST_GIF))
        film = mp4(frames, maps.fps, lambda done, total: _written(place, done, total), total=len(frames))
        st.session_state[KEPT] = Film(asked, film, gif(small, maps.fps), len(frames))
    st.rerun()


def _written(place: DeltaGenerator, done: int, total: int) -> None:
    place.caption(f"{done} of {total} frames")


def result(shown: Shown, asked: tuple) -> None:
    """The newest film, where it is the one asked for."""
    film: Film | None = st.session_state.get(KEPT)
    if film is None or film.asked != asked:
        return
    st.video(film.mp4, format="video/mp4", loop=True, autoplay=True, muted=True)
    view = shown.view
    what = {
        "raw": f"Layer {view.layer}, {head_name(view.head)}",
        "rollout": "Rollout",
        "relevance": f"Relevance for {plain(shown.title)}",
    }[view.kind]
    st.caption(
        f"{what}; {film.frames} frames in one colour scale, from the lowest to the highest value of the whole clip."
    )
    left, right = st.columns(2)
    left.download_button("MP4", film.mp4, "attention.mp4", "video/mp4", on_click="ignore", width="stretch")
    right.download_button("GIF", film.gif, "attention.gif", "image/gif", on_click="ignore", width="stretch")
