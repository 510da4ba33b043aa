"""The Relevance tab: which patches a class hangs on, by any map that explains one, beside rollout and attention."""

import streamlit as st

from explorer.attention.maps.table import EXPLAINS_BEST, RELEVANCE, map_kind
from explorer.attention.queries import query_name
from explorer.attention.recording import Recording
from explorer.rendering.backdrop import backdrop
from explorer.rendering.view import View, limits, noted_map, paint, picture
from explorer.ui.glossary import explain
from explorer.ui.map_picker import explanation_place, pick_explanation
from explorer.ui.messages import plain
from explorer.ui.view_settings import asked_from, layer_words
from explorer.ui.widgets import colour_bar, map_progress
from explorer.words import with_sign

FOR_CLASS = "[[Relevance]]: which patches the chosen class hangs on; another class lights up other patches."
FOR_LIKENESS = (
    "This model has no classes. [[Relevance]] shows what makes this photo's feature like the clicked patch, or another "
    "photo."
)
BEST = (
    f"In our bench on ImageNet photos {map_kind(EXPLAINS_BEST).title} named these patches best for DeiT-Tiny, "
    f"{RELEVANCE.title} for the bundled model. The tab Evidence measures all of them on yours."
)


def relevance_tab(rec: Recording, view: View) -> None:
    """For any class by name, top classes first; without classes, for the likeness to a patch or another photo."""
    explain(f"{FOR_LIKENESS if rec.logits is None else FOR_CLASS} {BEST}", small=True)
    view = view.with_look(mass=None)
    shown = pick_explanation(explanation_place(rec, view))
    if shown is None:
        return
    rolled = view.with_map("rollout", query=None)
    row, asked = shown.view.map.row, f"{asked_from(rec, view)}, {layer_words(view)}"
    with map_progress(row) as progress:
        heatmap, note = noted_map(shown.view, rec, shown.second, progress)
        low, high = limits(shown.view, rec, heatmap)
        image = backdrop(rec.image, None, rec.part.geometry, shown.view.look.width, 2)
        panels = {
            f"{row.title} for {plain(shown.title)}": paint(shown.view.drawn_look, image, heatmap, low, high),
            f"Rollout from {query_name(rec.default_query)}": picture(rolled, rec, zoom=2),
            f"Attention from {asked}": picture(view, rec, zoom=2),
        }
    for column, (caption, image) in zip(st.columns(3), panels.items(), strict=True):
        column.image(image, caption=caption, width="stretch")
    colours = shown.view.drawn_look.colormap
    if row.signed:
        colour_bar(colours, f"{with_sign(low, 3)} against", f"{with_sign(high, 3)} for")
    else:
        colour_bar(colours, f"{low:.3g}", f"{high:.3g}")
    if note:
        st.caption(f":material/warning: {note}")
