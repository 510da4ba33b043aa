"""Video: attention over a short clip."""

import streamlit as st

from explorer.ui.glossary import explain
from explorer.ui.messages import check_switch, show_errors
from explorer.ui.state import chosen
from explorer.ui.video import view

st.title("Attention over a clip", anchor=False)
explain(
    "[[Attention]] over time: every frame is looked at on its own, then all are coloured in one scale, so that they "
    "compare."
)
choice = chosen()
picked = view.pick_clip(choice)
with show_errors():
    shown = view.pick_view(choice)
    check_switch("beside")
    beside = st.toggle("Show the clip beside it", True, key="beside", bind="query-params")
    if picked is not None and shown is not None:
        name, clip = picked
        asked = (name, shown.view, beside)
        if st.button(f"Look at {len(clip.frames)} frames", type="primary", icon=":material/play_arrow:"):
            view.run(choice, clip, shown, beside, asked)
        view.result(shown, asked)
