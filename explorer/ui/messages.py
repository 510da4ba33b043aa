"""What the app says when something can't be done: one sentence, never a traceback."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import streamlit as st

from explorer.errors import ExplorerError

_MESSAGES = "messages"  # of this run, or of one that ended with a rerun
_LINK = "link_problems"  # setting -> (the sentence, the value used instead), until a person changes that setting
_MARKUP = "\\`*_[]$#<>|~:"


@contextmanager
def show_errors() -> Iterator[None]:
    """Show an ExplorerError of the block as its one sentence, where the block stands; other errors pass through."""
    try:
        yield
    except ExplorerError as error:
        st.error(sentence_of(error), icon=":material/error:")


def sentence_of(error: ExplorerError) -> str:
    """The error's message on one line, safe to show as Markdown."""
    return plain(" ".join(str(error).split()))


def plain(text: str) -> str:
    """The text with nothing in it that Markdown would take for markup."""
    return "".join(f"\\{character}" if character in _MARKUP else character for character in text)


def say(sentence: str) -> None:
    """Have the sentence shown above the page at the next chance."""
    st.session_state.setdefault(_MESSAGES, []).append(sentence)


def check_link(key: str, usable: Callable[[str], bool], expected: str) -> None:
    """Have a sentence shown where the address holds a value of the sidebar's setting `key` that can't be used.

    Call it before the widget bound to that key is made: Streamlit takes such values out of the address in silence.
    expected: what would work, as in "a multiple of 16 from 64 to 1024".
    """
    wanted = st.query_params.get(key)
    if wanted is not None and not usable(wanted):
        sentence = f"The link asks for {key} “{wanted}”, which can't be used: it must be {expected}."
        st.session_state.setdefault(_LINK, {})[key] = (sentence, None)


def show_messages() -> None:
    """Everything said so far, above the page."""
    for sentence in st.session_state.pop(_MESSAGES, []):
        st.error(sentence, icon=":material/error:")
    problems = st.session_state.get(_LINK, {})
    for key, (sentence, used) in list(problems.items()):
        now = str(st.session_state.get(key))
        if used not in (None, now):
            del problems[key]
            continue
        problems[key] = (sentence, now)
        st.warning(plain(sentence), icon=":material/link_off:")
