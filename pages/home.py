"""Home: a photo with its attention on it, what the model is, and where to go next."""

import streamlit as st

import explorer
from explorer.ui.navigation import entries, page
from explorer.ui.state import current

now = current()
st.title("See where a Vision Transformer looks")
st.write("Drop a photo into the sidebar, or pick another one there.")
heatmap = now.recording.attention(-1, "mean")
st.image(explorer.overlay(now.recording.image, heatmap), width="stretch")
for entry in entries():
    st.page_link(page(entry), label=f"**{entry.title}** {entry.purpose}", icon=entry.icon)
