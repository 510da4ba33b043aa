"""What the app says when something can't be done: one sentence, never a traceback."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from explorer.errors import ExplorerError
from explorer.words import list_in_words

_MESSAGES = "messages"  # of this run, or of one that ended with a rerun
_LINK = "link"  # what is wrong with the address of this page
LONGEST = 80  # letters of what a person or a link wrote, in a sentence about it
HALF = 400  # letters that are shown of a very long sentence's beginning, and of its end, where the remedy stands
_MARKUP = "\\`*_[]$#<>|~:"


@dataclass
class _Wrong:
    """A setting of a link that can't be used."""

    wanted: str
    expected: str
    used: str | None = None  # the value used instead


@dataclass
class _Link:
    """What is wrong with the address, until the page is left or a person changes that setting."""

    page: str
    read: set[str]  # pages that have read the address in this session
    wrong: dict[str, _Wrong] = field(default_factory=dict)


@contextmanager
def show_errors() -> Iterator[None]:
    """Show an ExplorerError of the block as its one sentence, where the block stands; other errors pass through."""
    try:
        yield
    except ExplorerError as error:
        st.error(sentence_of(error), icon=":material/error:")


def sentence_of(error: ExplorerError) -> str:
    """The error's message on one line, safe to show as Markdown; of a very long one, which quotes much, both ends."""
    text = " ".join(str(error).split())
    return plain(text if len(text) <= 2 * HALF else f"{text[:HALF]} … {text[-HALF:]}")


def plain(text: str) -> str:
    """The text with nothing in it that Markdown would take for markup."""
    return "".join(f"\\{character}" if character in _MARKUP else character for character in text.replace("\n", " "))


def shorten(text: str) -> str:
    """The text, of a long one its beginning."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def say(sentence: str) -> None:
    """Have the sentence shown above the page at the next chance."""
    st.session_state.setdefault(_MESSAGES, []).append(sentence)


def open_link(page: str) -> None:
    """Begin a run of that page; main.py calls it before anything reads the address."""
    link: _Link | None = st.session_state.get(_LINK)
    if link is None or link.page != page:
        st.session_state[_LINK] = _Link(page, link.read if link else set())


def link_is_new() -> bool:
    """Whether this page reads the address for the first time, so that a wrong value in it comes from a link."""
    link: _Link = st.session_state[_LINK]
    return link.page not in link.read


def check_link(key: str, usable: Callable[[str], bool], expected: str) -> None:
    """Have the message above the page name the setting `key` where a link holds a value that can't be used.

    Call it before the widget bound to that key is made: Streamlit takes such values out of the address in silence.
    expected: what would work, as in "a multiple of 16 from 64 to 1024".
    """
    wanted = st.query_params.get(key)
    if wanted is not None and link_is_new() and not usable(wanted):
        st.session_state[_LINK].wrong[key] = _Wrong(wanted, expected)


def check_switch(key: str) -> None:
    """check_link for a toggle."""
    check_link(key, lambda text: text.lower() in ("true", "false"), "true or false")


def show_messages() -> DeltaGenerator:
    """Everything said so far, above the page; the place of what is wrong with the link, for show_link."""
    said = st.session_state.pop(_MESSAGES, [])
    for sentence in said:
        st.error(sentence, icon=":material/error:")
    if said:  # for whoever has scrolled down
        st.toast("See the note at the top of the page.", icon=":material/error:")
    place = st.empty()
    _draw(place)
    return place


def show_link(place: DeltaGenerator) -> None:
    """Name what the page found wrong, too, once it has read the address."""
    link: _Link = st.session_state[_LINK]
    link.read.add(link.page)
    for key, wrong in link.wrong.items():
        wrong.used = wrong.used or str(st.session_state.get(key))
    _draw(place)


def _draw(place: DeltaGenerator) -> None:
    link: _Link = st.session_state[_LINK]
    # What a person has set since then no longer needs the sentence.
    link.wrong = {
        key: wrong for key, wrong in link.wrong.items() if wrong.used in (None, str(st.session_state.get(key)))
    }
    if link.wrong:
        place.warning(plain(link_sentence(link.wrong)), icon=":material/link_off:")


def link_sentence(wrong: Mapping[str, "_Wrong"]) -> str:
    """One sentence that names every wrong value, and for a single one what would work."""
    named = [f"{key} “{shorten(value.wanted)}”" for key, value in wrong.items()]
    if len(named) == 1:
        expected = next(iter(wrong.values())).expected
        return f"The link asks for {named[0]}, which can't be used: it must be {expected}. Shown instead: the default."
    return f"The link asks for {list_in_words(named)}, which can't be used. Shown instead: the defaults."
