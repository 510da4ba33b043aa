"""Compare: two models, or one before and after fine-tuning, on the same photo."""

import streamlit as st

from explorer.ui import compare_view
from explorer.ui.messages import show_errors
from explorer.ui.second import pick_second_model
from explorer.ui.state import Current, current


@st.fragment
def compare(now: Current) -> None:
    """The second model's picker and all that follows from it; a fragment, so that the sidebar stays."""
    with show_errors():
        second = compare_view.second_recording(now, pick_second_model("Compare with", "with", now.source))
        view = compare_view.pick_view(now, second)
        compare_view.canvases(view, now.recording, second)
        compare_view.differences(view, now.recording, second)


st.title("Two models, one photo", anchor=False)
st.markdown(
    "Move over either picture: both show where that place looks. Click to keep it. "
    "Every fine-tuned model is in the list beside the others."
)
compare(current())
