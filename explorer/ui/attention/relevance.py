"""The Relevance tab: which patches speak for a class, by any kind of map that explains one."""

import streamlit as st
from PIL import Image

from explorer.attention.maps.settings import TargetClass
from explorer.attention.maps.table import MAP_KINDS, RELEVANCE
from explorer.attention.queries import query_name
from explorer.attention.recording import Recording
from explorer.rendering.backdrop import backdrop
from explorer.rendering.view import View, limits, paint, picture, shown_map
from explorer.ui.address import by_key, take, write_unless
from explorer.ui.map_picker import Shown, on_canvas, pick_settings
from explorer.ui.messages import check_link
from explorer.ui.view_settings import asked_from, layer_words
from explorer.ui.widgets import colour_bar
from explorer.words import with_sign

KIND, KEPT = "explain", "explained"  # in the address; the newest slow map of the session
LIKENESS = "This model has no classes. Shown is what makes this photo like the clicked patch, or like another photo."
ZOOM = 2


def relevance_tab(rec: Recording, view: View) -> None:
    """For any class by name, top classes first; without classes, for the likeness to a patch or another photo."""
    view = view.with_look(mass=None)
    kind = _pick_kind(rec)
    st.caption(MAP_KINDS[kind].help + (f" {LIKENESS}" if rec.logits is None else ""))
    shown = pick_settings(kind, on_canvas(rec, view))
    if shown is None:
        return
    title = MAP_KINDS[kind].title
    rolled = view.with_map("rollout", query=None)
    places = st.columns(3)
    with places[0]:
        _explain(rec, shown, f"{title} for {shown.title}")
    rollout = f"Rollout from {query_name(rec.default_query)}"
    places[1].image(picture(rolled, rec, zoom=ZOOM), caption=rollout, width="stretch")
    attention = f"Attention from {asked_from(rec, view)}, {layer_words(view)}"
    places[2].image(picture(view, rec, zoom=ZOOM), caption=attention, width="stretch")


def _pick_kind(rec: Recording) -> str:
    """Of all that explain a class, or a likeness."""
    labels = {name: MAP_KINDS[name].title for name in rec.maps if MAP_KINDS[name].needs(TargetClass)}
    check_link(KIND, lambda text: by_key(labels)(text) is not None, f"one of {', '.join(labels)}")
    take(KIND, by_key(labels), RELEVANCE.name)
    kind = st.segmented_control(
        "Explained by", list(labels), format_func=labels.__getitem__, required=True, key=KIND, persist_state="session"
    )
    write_unless(KIND, RELEVANCE.name)
    return str(kind)


def _explain(rec: Recording, shown: Shown, caption: str) -> None:
    """The map with its colours' numbers; a slow one once it is asked for."""
    slow, asked = shown.view.map.row.slow, (rec.model_name, shown.view)
    kept = st.session_state.get(KEPT)
    if slow and not (kept and kept[0] == asked):
        st.caption(caption)
        if not st.button("Compute it", key="explain_run", icon=":material/play_arrow:"):
            return
    if not (kept and kept[0] == asked):
        with st.spinner("Following the decision through the layers …", show_time=slow):
            kept = asked, _drawn(rec, shown)
        if slow:
            st.session_state[KEPT] = kept
    image, low, high = kept[1]
    st.image(image, caption=caption, width="stretch")
    view = shown.view
    if view.map.row.signed:
        colour_bar(view.drawn_look.colormap, f"{with_sign(low, 3)} against", f"{with_sign(high, 3)} for")
    else:
        colour_bar(view.drawn_look.colormap, f"{low:.3g}", f"{high:.3g}")


def _drawn(rec: Recording, shown: Shown) -> tuple[Image.Image, float, float]:
    view = shown.view
    heatmap = shown_map(view, rec, shown.second)
    low, high = limits(view, rec, heatmap)
    image = backdrop(rec.image, None, rec.part.geometry, view.look.width, ZOOM)
    return paint(view.drawn_look, image, heatmap, low, high), low, high
