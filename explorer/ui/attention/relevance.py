"""The Relevance tab: which patches a class hangs on, by any map that explains one, beside rollout and attention."""

import streamlit as st

from explorer.attention.maps.table import EXPLAINS_BEST, map_kind
from explorer.attention.queries import query_name
from explorer.attention.recording import Recording
from explorer.rendering.view import View, picture
from explorer.ui.map_picker import explaining, pick_explanation
from explorer.ui.view_settings import asked_from, layer_words
from explorer.ui.widgets import map_progress

FOR_CLASS = "Which patches the chosen class hangs on; another class lights up other patches."
FOR_LIKENESS = (
    "This model has no classes. Shown is what makes this photo's feature like the clicked patch, or another photo."
)
BEST = (
    f"{map_kind(EXPLAINS_BEST).title} comes first: on ImageNet photos, no other of these maps named the patches that a "
    "class hangs on so well. The tab Evidence measures it on yours."
)


def relevance_tab(rec: Recording, view: View) -> None:
    """For any class by name, top classes first; without classes, for the likeness to a patch or another photo."""
    st.caption(f"{FOR_LIKENESS if rec.logits is None else FOR_CLASS} {BEST}")
    view = view.with_look(mass=None)
    shown = pick_explanation(explaining(rec, view))
    if shown is None:
        return
    rolled = view.with_map("rollout", query=None)
    row, asked = shown.view.map.row, f"{asked_from(rec, view)}, {layer_words(view)}"
    with map_progress(row) as progress:
        panels = {
            f"{row.title} for {shown.title}": picture(shown.view, rec, zoom=2, second=shown.second, progress=progress),
            f"Rollout from {query_name(rec.default_query)}": picture(rolled, rec, zoom=2),
            f"Attention from {asked}": picture(view, rec, zoom=2),
        }
    for column, (caption, image) in zip(st.columns(3), panels.items(), strict=True):
        column.image(image, caption=caption, width="stretch")
