"""The parts of the Video page: the clip, its settings, the run with its progress, the result."""

from dataclasses import dataclass, replace
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from explorer.data.video import LIMITS, Clip, pan, read_clip
from explorer.models.backbone import Model
from explorer.rendering.video import LARGEST, LARGEST_GIF, gif, mp4, painted_frames, record_clip
from explorer.rendering.view import View
from explorer.ui import cached
from explorer.ui.address import by_key, take, write_unless
from explorer.ui.attention_settings import FUSIONS, default_layer, head_name
from explorer.ui.map_choice import Shown, class_title, like_photo, pick_class, pick_rollout
from explorer.ui.messages import plain, show_errors
from explorer.ui.progress import progress_bar
from explorer.ui.state import Choice

KEPT = "video_kept"
LARGEST_UPLOAD = 500  # MB
KINDS = {"raw": "Attention", "rollout": "Rollout", "relevance": "Relevance"}


@dataclass(frozen=True)
class Film:
    """A finished run: what was asked, and its two files."""

    asked: tuple
    mp4: bytes
    gif: bytes
    frames: int


def pick_clip(choice: Choice) -> tuple[Any, Clip] | None:
    """(what names the clip, the clip): an uploaded file, or a pan over the sidebar's photo while there is none."""
    kinds = ["mp4", "m4v", "mov", "webm", "gif"]
    file = st.file_uploader(f"Clip (MP4, WebM or GIF; {LIMITS})", kinds, max_upload_size=LARGEST_UPLOAD)
    place = st.container()
    fps = st.select_slider("Frames a second", [2, 4, 8, 12, 24], 8, key="fps", bind="query-params")
    with place, show_errors():
        if file:
            return (file.file_id, fps), read_clip(file.getvalue(), fps)
        clip = pan(choice.photo.image, frames=round(2 * fps), fps=fps)
        _show_pan(clip, choice.photo.title)
        return (choice.photo.key, fps), clip
    return None


def _show_pan(clip: Clip, title: str) -> None:
    """What stands in for a clip."""
    frame_at, words_at = st.columns([1, 6], vertical_alignment="center")
    frame_at.image(clip.frames[0], alt=f"The first frame of a pan over {title}", width="stretch")
    words_at.caption(
        f"Until you drop one in: a pan over {title}. A square window moves from the photo's upper left to its lower "
        "right; this is the first frame."
    )


def pick_view(choice: Choice) -> Shown:
    """What is shown of every frame."""
    take("video_map", by_key(KINDS), "raw")
    kind = st.segmented_control(
        "Map", list(KINDS), format_func=KINDS.__getitem__, required=True, key="video_map", persist_state="session"
    )
    write_unless("video_map", "raw")
    view = View(**choice.settings)
    if kind == "rollout":
        return Shown(pick_rollout(view, choice.model.depth), "")
    return _pick_relevance(choice, view) if kind == "relevance" else Shown(_pick_raw(choice.model, view), "")


def _pick_raw(model: Model, view: View) -> View:
    layer_at, head_at = st.columns([3, 2], gap="large")
    layer = layer_at.slider("Layer", 0, model.depth - 1, default_layer(model), key="layer", bind="query-params")
    options = [*FUSIONS, *map(str, range(model.num_heads))]
    if st.session_state.get("head") not in (None, *options):
        st.session_state["head"] = "mean"
    head = str(head_at.select_slider("Head", options, "mean", key="head", bind="query-params"))
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
