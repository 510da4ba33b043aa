"""Attention: any layer, any head, from any patch, under the mouse."""

import streamlit as st

from explorer.attention.recording import Recording
from explorer.rendering.view import View
from explorer.ui.attention_live import below, canvas, layer_and_head
from explorer.ui.attention_settings import lead
from explorer.ui.attention_tabs import tabs
from explorer.ui.messages import show_errors
from explorer.ui.state import current


@st.fragment
def attention(recording: Recording, base: View) -> None:
    """Everything that follows the layer, so that a new layer reruns this and not the sidebar."""
    with show_errors():
        view = canvas(recording, base, *layer_and_head(recording))
        below(recording, view)
        tabs(recording, view)


st.title("Where every token looks", anchor=False)
now = current()
st.markdown(lead(now.recording))
attention(now.recording, View(**now.settings))
