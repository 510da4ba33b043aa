"""Attention: any layer, any head, asked from any patch, live."""

import streamlit as st

from explorer.attention.recording import Recording
from explorer.rendering.view import View
from explorer.ui.attention.live import canvas, downloads
from explorer.ui.attention.tabs import TABS, tabs
from explorer.ui.attention.what_if import check_edits
from explorer.ui.glossary import explain
from explorer.ui.map_picker import WHY, check_map, explaining, on_canvas
from explorer.ui.messages import check_link, show_errors
from explorer.ui.state import current
from explorer.ui.view_settings import check_layer_and_head, check_look, check_query, head_options, heads_and_query


@st.fragment
def attention(recording: Recording, base: View) -> None:
    """Everything that follows the layer, so that a new layer reruns this and not the sidebar."""
    with show_errors():
        view, shown = canvas(recording, base)
        downloads(recording, shown)
        tabs(recording, view)


def check_address(recording: Recording, base: View) -> None:
    """Name each setting of a link that can't be used, those of tabs which aren't open as well."""
    check_layer_and_head(recording, head_options(recording))
    check_query(recording)
    check_look()
    check_link("tab", TABS.__contains__, f"one of {', '.join(TABS)}")
    check_edits(recording)
    check_map(on_canvas(recording, base))
    check_map(explaining(recording, base), WHY)


st.title("Where every token looks", anchor=False)
now = current()
explain(heads_and_query(now.recording))
check_address(now.recording, now.view)
attention(now.recording, now.view)
