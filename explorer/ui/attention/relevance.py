"""The Relevance tab: which patches speak for a class, beside rollout and attention."""

import streamlit as st

from explorer.attention.queries import query_name
from explorer.attention.recording import Recording
from explorer.rendering.view import View, picture
from explorer.ui.glossary import explain
from explorer.ui.map_picker import on_canvas, pick_settings
from explorer.ui.view_settings import asked_from, layer_words

FOR_CLASS = (
    "[[Relevance]]: attention weighted by what it does to the chosen class, through all layers (Chefer et al. 2021). "
    "Another class lights up other patches."
)
FOR_LIKENESS = (
    "This model has no classes. [[Relevance]] shows what makes this photo's feature like the clicked patch, or like "
    "another photo, through all layers (Chefer et al. 2021)."
)


def relevance_tab(rec: Recording, view: View) -> None:
    """For any class by name, top classes first; without classes, for the likeness to a patch or another photo."""
    explain(FOR_LIKENESS if rec.logits is None else FOR_CLASS, small=True)
    view = view.with_look(mass=None)
    shown = pick_settings("relevance", on_canvas(rec, view))
    if shown is None:
        return
    rolled = view.with_map("rollout", query=None)
    asked = f"{asked_from(rec, view)}, {layer_words(view)}"
    with st.spinner("Following the gradient through the layers …", show_time=False):
        panels = {
            f"Relevance for {shown.title}": picture(shown.view, rec, zoom=2, second=shown.second),
            f"Rollout from {query_name(rec.default_query)}": picture(rolled, rec, zoom=2),
            f"Attention from {asked}": picture(view, rec, zoom=2),
        }
    for column, (caption, image) in zip(st.columns(3), panels.items(), strict=True):
        column.image(image, caption=caption, width="stretch")
