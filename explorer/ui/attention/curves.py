"""Deletion and insertion curves on the Evidence tab: one map or several, this photo or all of the sidebar."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st

import explorer
from explorer.attention.evidence import Evidence, evidence
from explorer.attention.evidence_mean import Band, mean_bands, to_csv
from explorer.attention.maps.settings import TargetClass
from explorer.attention.maps.table import MAP_KINDS
from explorer.attention.recording import Recording
from explorer.rendering.charts import bands_figure
from explorer.rendering.evidence_drawing import evidence_drawing
from explorer.rendering.provenance import with_provenance
from explorer.rendering.view import View, shown_map
from explorer.ui import cached
from explorer.ui.map_picker import Shown, canvas_place, pick_class, pick_map
from explorer.ui.messages import plain
from explorer.ui.photos import Photo, my_photos, samples
from explorer.ui.state import shown_photo
from explorer.ui.view_settings import download_name, layer_words
from explorer.ui.widgets import PLAIN, map_progress, progress_bar

KEPT = "evidence_kept"
MOST_PHOTOS = 16
OVER = {"this": "This photo", "all": "All of the sidebar"}


@dataclass(frozen=True)
class Kept:
    """Curves that were drawn: they stay while the layer moves."""

    asked: tuple
    words: str  # of what they are
    found: dict[str, Evidence]  # by photo

    @property
    def bands(self) -> tuple[Band, ...]:
        return mean_bands(list(self.found.values()))


def curves(rec: Recording, view: View) -> None:
    """The widgets, and the curves on demand."""
    st.caption(
        "Patches are removed (deletion) or revealed (insertion) from the map's highest to its lowest, and the class "
        "is followed. A map that matters drops it faster, and brings it back sooner, than random order or the centre."
    )
    shown = pick_map(canvas_place(rec, view))
    if shown is None:
        return
    more = _pick_more(shown)
    over_at, fill_at, steps_at, class_at = st.columns([2, 1.3, 1.4, 2.3])
    over = over_at.segmented_control(
        "Photos", list(OVER), format_func=OVER.__getitem__, default="this", required=True, key="evidence_over",
        help=f"All: those you dropped in, else the samples, {MOST_PHOTOS} at most, each for its own predicted class "
        "unless you name one.",
    )  # fmt: skip
    with class_at:
        explained = shown.view.map.row.needs(TargetClass)
        target = shown.view.map[explained.name] if explained else pick_class(rec)
        target = target[0] if isinstance(target, tuple) else target  # of two, the class that is explained
    fill: Any = fill_at.selectbox("Removed patches show", ["mean", "blur"], key="evidence_fill")
    steps: Any = steps_at.select_slider("Steps", [5, 10, 20, 40], 10, key="evidence_steps")
    photos = (my_photos() or samples())[:MOST_PHOTOS] if over == "all" else [shown_photo()]
    asked = (rec.model_name, shown.view, more, target, fill, steps, tuple(photo.key for photo in photos))
    if st.button("Run", key="evidence_run", icon=":material/play_arrow:"):
        # Clicking anything else stops it: Streamlit ends the run at the next progress.
        found = _follow(rec, shown, more, photos, lambda one, maps, progress: evidence(
            one, maps, target, steps, fill, progress=progress))  # fmt: skip
        st.session_state[KEPT] = Kept(asked, _words(rec, shown, more, len(photos)), found)
    kept: Kept | None = st.session_state.get(KEPT)
    if kept is not None and kept.asked[0] == rec.model_name and kept.asked[-1] == asked[-1]:
        _show(rec, shown.view, kept, is_old=kept.asked != asked)


def _pick_more(shown: Shown) -> tuple[str, ...]:
    """Other kinds of map, as they are by default, in the same chart."""
    names = [name for name in MAP_KINDS if name != shown.view.map.row.name]
    picked = st.multiselect(
        "Together with", names, key="evidence_more", format_func=lambda name: MAP_KINDS[name].title,
        placeholder="other maps in the same chart",
    )  # fmt: skip
    return tuple(picked)


def _words(rec: Recording, shown: Shown, more: tuple[str, ...], photos: int) -> str:
    row = shown.view.map.row
    main = f"{row.title}, {layer_words(shown.view)}" if row.has_layers_and_heads else row.title
    others = "".join(f", {MAP_KINDS[name].title}" for name in more)
    return f"{rec.model_name}: {main}{others}" + (f"; {photos} photos" if photos > 1 else "")


Run = Callable[[Recording, dict, Callable[[int, int], None]], Evidence]


def _follow(rec: Recording, shown: Shown, more: tuple[str, ...], photos: list[Photo], run: Run) -> dict[str, Evidence]:
    """The evidence of every photo by its title."""
    views = {shown.view.map.row.name: shown.view} | {name: shown.view.with_map(name) for name in more}
    found: dict[str, Evidence] = {}
    for at, photo in enumerate(photos):
        where = f", photo {at + 1} of {len(photos)}" if len(photos) > 1 else ""
        one = rec if photo.key == shown_photo().key else _record(rec, shown.view, photo)
        maps = {name: _map(view, one, shown.second) for name, view in views.items()}
        name = photo.title if photo.title not in found else f"{photo.title} ({photo.key[:6]})"
        with progress_bar(f"Removing and revealing patches{where}") as progress:
            found[name] = run(one, maps, progress)
    return found


def _map(view: View, rec: Recording, second: Recording | None) -> np.ndarray:
    with map_progress(view.map.row) as progress:
        return shown_map(view, rec, second, progress)


def _record(rec: Recording, view: View, photo: Photo) -> Recording:
    image = photo.image  # read here: it asks Streamlit's cache, which is not for other threads
    size, fit = view.photo.size, view.photo.fit
    return cached.in_recording_thread(lambda: explorer.record(rec.model, image, size=size, fit=fit))


def _show(rec: Recording, view: View, kept: Kept, is_old: bool) -> None:
    bands = kept.bands
    again = " Press **Run** for what is shown now." if is_old else ""
    st.caption(f"{plain(kept.words)}.{again}")
    st.plotly_chart(bands_figure(bands), key="evidence_curves", width="stretch", config=PLAIN)
    name = f"{download_name(rec, view)}-evidence"

    def drawing():
        return evidence_drawing(bands, kept.words, with_provenance(view.to_json(), rec))

    for place, label, ending, mime, make in zip(
        st.columns(4), ("Curves (PDF)", "Curves (SVG)", "Numbers (CSV)"), ("pdf", "svg", "csv"),
        ("application/pdf", "image/svg+xml", "text/csv"),
        (lambda: drawing().pdf(), lambda: drawing().svg(), lambda: to_csv(kept.found)), strict=False,
    ):  # fmt: skip
        place.download_button(
            label, make, f"{name}.{ending}", mime, on_click="ignore", width="stretch", key=f"evidence_{ending}"
        )
