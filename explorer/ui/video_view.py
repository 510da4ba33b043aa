"""The parts of the Video page: the clip, its settings, the run with its progress, the result."""

from dataclasses import dataclass
from typing import Any

import streamlit as st

from explorer.data.video import LIMITS, Clip, pan, read_clip
from explorer.rendering.video import gif, mp4, painted_frames, record_clip
from explorer.rendering.view import View
from explorer.ui.attention_settings import FUSIONS, head_name
from explorer.ui.messages import show_errors
from explorer.ui.progress import progress_bar
from explorer.ui.state import Choice

KEPT = "video_kept"
KINDS = {"raw": "Attention", "rollout": "Rollout"}


@dataclass(frozen=True)
class Film:
    """A finished run: what was asked, and its two files."""

    asked: tuple
    mp4: bytes
    gif: bytes
    frames: int


def pick_clip(choice: Choice, fps: float) -> tuple[Any, Clip] | None:
    """(what names the clip, the clip): an uploaded file, or a pan over the sidebar's photo while there is none."""
    file = st.file_uploader(f"Clip (MP4, WebM or GIF; {LIMITS})", ["mp4", "m4v", "mov", "webm", "gif"])
    if file is None:
        st.caption(f"Until you drop one in: a pan over {choice.photo.title}.")
        return choice.photo.key, pan(choice.photo.image, frames=round(2 * fps), fps=fps)
    with show_errors():
        return file.file_id, read_clip(file.getvalue(), fps)
    return None


def pick_view(choice: Choice) -> View:
    """What is shown of every frame."""
    model = choice.model
    kind_at, layer_at, head_at = st.columns([2, 3, 3], gap="large")
    kind: Any = kind_at.segmented_control(
        "Map", list(KINDS), format_func=KINDS.__getitem__, default="raw", required=True, key="video_kind"
    )
    default = min(model.depth - 1, round(0.75 * model.depth))
    layer = layer_at.slider(
        "Layer", 0, model.depth - 1, default, key="layer", bind="query-params", disabled=kind == "rollout"
    )
    options = [*FUSIONS, *map(str, range(model.num_heads))]
    if st.session_state.get("head") not in (None, *options):
        st.session_state["head"] = "mean"
    head = str(
        head_at.select_slider("Head", options, "mean", key="head", bind="query-params", disabled=kind == "rollout")
    )
    return View(**choice.settings, kind=kind, layer=layer, head=head if head in FUSIONS else int(head))


def run(choice: Choice, clip: Clip, view: View, beside: bool, asked: tuple) -> None:
    """Record and draw every frame; a click on Cancel, as any other, ends it at the next frame."""
    st.button("Cancel", key="video_cancel", icon=":material/stop:")
    with progress_bar("Frames looked at") as progress:
        maps = record_clip(choice.model, clip, view, progress)
    with progress_bar("Frames written") as progress:
        frames = list(painted_frames(maps, view, beside))
        film = mp4(frames, maps.fps, progress, total=len(frames))
    st.session_state[KEPT] = Film(asked, film, gif(frames, maps.fps), len(frames))
    st.rerun()


def result(view: View, asked: tuple) -> None:
    """The newest film, where it is the one asked for."""
    film: Film | None = st.session_state.get(KEPT)
    if film is None or film.asked != asked:
        return
    st.video(film.mp4, format="video/mp4", loop=True, autoplay=True, muted=True)
    what = "Rollout" if view.kind == "rollout" else f"Layer {view.layer}, {head_name(view.head)}"
    st.caption(
        f"{what}; {film.frames} frames in one colour scale, from the lowest to the highest value of the whole clip."
    )
    left, right = st.columns(2)
    left.download_button("MP4", film.mp4, "attention.mp4", "video/mp4", on_click="ignore", width="stretch")
    right.download_button("GIF", film.gif, "attention.gif", "image/gif", on_click="ignore", width="stretch")
