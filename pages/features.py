"""Features: what the patch tokens have in common, as colours and as likeness to one patch."""

import streamlit as st

from explorer.attention.recording import Recording
from explorer.ui import cached
from explorer.ui.features import view
from explorer.ui.glossary import explain
from explorer.ui.messages import show_errors
from explorer.ui.photos import mirror, pick_second_photo
from explorer.ui.state import Current, current


def second_recording(now: Current) -> Recording:
    """Another photo by the same model, at the same size; at first the same thing from closer by, turned round."""
    photo = pick_second_photo("Second photo", "second", now.photo.source, alike=mirror(now.photo))
    return cached.record(now.model, photo, now.size, now.fit)


@st.fragment
def features(now: Current) -> None:
    """Colours and likeness of both photos; a fragment, so that a click redraws it and not the sidebar."""
    with show_errors():
        second = second_recording(now)
        st.header("Alike tokens have alike colours", anchor=False)
        view.colours(now.recording, second)
        st.header("Which patches are like this one?", anchor=False)
        view.likeness(now.recording, second)


st.title("What the tokens hold", anchor=False)
explain(
    "After the last [[layer]] every [[patch]] is a vector. Parts that the model takes for the same thing lie together."
)
features(current())
