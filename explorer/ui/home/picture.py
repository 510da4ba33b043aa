"""Home's live picture: the one that ships with the app until the bundled model is there, then the model's own."""

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from explorer.attention.queries import Query, parse_head
from explorer.errors import ExplorerError
from explorer.models.facts import ModelFacts
from explorer.ui import cached
from explorer.ui import view_settings as settings
from explorer.ui.components.live_canvas import HERO, hero, streamed_payload
from explorer.ui.state import Choice, chosen, current
from explorer.web import first_picture

if TYPE_CHECKING:
    from explorer.ui.state import Current

POLL = 0.5  # seconds between two looks at the model that is loading
_PAINTED = "first_picture_painted"  # whether the browser has the first picture


@dataclass(frozen=True)
class Shown:
    """What the picture and the words beside it show; grid: (rows, cols); shipped: whether it came with the app."""

    facts: ModelFacts
    grid: tuple[int, int]
    payload: bytes
    shipped: bool = False


def shown() -> Shown:
    """The picture of what the sidebar chose; the shipped one where that is what it shows and the model still loads."""
    choice, first = chosen(), first_picture.read()
    if choice.loaded is None and _is_of(first, choice):
        query, seq = _query(first)
        if query != "mean":  # which the browser can't compute
            return Shown(choice.facts, first.grid, first.payload(query, seq), shipped=True)
    return _recorded(current())


def _recorded(now: "Current") -> Shown:
    recording = now.recording
    query, seq = _query(recording)
    layer, head = settings.take_layer(recording), settings.take_head(settings.head_options(recording))
    view = now.view.with_map(layer=layer, head=parse_head(head), query=query)
    payload = streamed_payload(recording, view, mosaic=settings.settings()["mosaic"], seq=seq)
    settings.mirror_layer_and_head(recording)
    return Shown(now.model.facts, recording.grid, payload)


def _is_of(first: first_picture.FirstPicture, choice: Choice) -> bool:
    facts = first.facts
    return (choice.photo.source, choice.size, choice.fit) == (first.photo, facts.input_size, facts.own_fit)


def _query(rec: "settings.Asked") -> tuple[Query, int]:
    """The pinned query, the recording's own where none is, and the number of the change that pinned it."""
    settings.check_query(rec)
    query, complaint = settings.checked_query(rec)
    if complaint:
        st.warning(complaint)
    return query, settings.settings()["seq"]


def draw(now: Shown) -> None:
    """The picture; what is pinned or chosen here is so on the other pages, too."""
    hero(now.payload, lambda: settings.take_choice(HERO))
    settings.mirror_query()
    if now.shipped:
        _load_behind_it(chosen())


@st.fragment(run_every=POLL)
def _load_behind_it(choice: Choice) -> None:
    """Have the model loaded and the photo recorded, then the page drawn from them.

    Not in the run that sends the picture: importing torch holds the interpreter, and so the browser, up for a while.
    """
    if cached.is_loaded(choice.facts.source):
        with suppress(ExplorerError):  # the page says so, once it is drawn again
            cached.record(choice.model, choice.photo, choice.size, choice.fit)
        st.rerun()
    if st.session_state.setdefault(_PAINTED, False):
        cached.begin_loading(choice.facts.source)
    st.session_state[_PAINTED] = True
    st.caption("PyTorch and the model are loading in the background; the other pages open in a few seconds.")
