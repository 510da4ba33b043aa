"""What the app says when something can't be done: one sentence above the page, never a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from explorer.errors import ExplorerError

_MESSAGES = "messages"  # those of this run, in order
_LINK = "link_problems"  # key of a setting -> (the value used instead, the sentence)


def say(sentence: str) -> None:
    """Have the sentence shown above the page in this run."""
    st.session_state.setdefault(_MESSAGES, []).append(sentence)


@contextmanager
def show_errors() -> Iterator[None]:
    """Show an ExplorerError of the block as its one sentence, where the block stands; other errors pass through."""
    try:
        yield
    except ExplorerError as error:
        st.error(sentence_of(error), icon=":material/error:")


def sentence_of(error: ExplorerError) -> str:
    """The error's message on one line, with nothing in it that Markdown would take for markup."""
    text = " ".join(str(error).split())
    return "".join(f"\\{character}" if character in "\\`*_[]$#<>|~:" else character for character in text)


def check_link(key: str, used: str, expected: str) -> None:
    """Say so where the address asks for a value of the setting `key` that can't be used, and `used` is shown instead.

    Call it before the widget bound to that key is made: Streamlit takes such values out of the address silently.
    expected: what would work, as in "a multiple of 16 from 64 to 1024".
    """
    wanted = st.query_params.get(key)
    if wanted is not None and wanted != used:
        st.session_state.setdefault(_LINK, {})[key] = f"The link asks for {key} {wanted!r}; it must be {expected}."


def show_messages() -> None:
    """Everything said so far in this run, above the page."""
    for sentence in st.session_state.pop(_MESSAGES, []):
        st.error(sentence, icon=":material/error:")
    problems = st.session_state.get(_LINK, {})
    for key, sentence in problems.items():
        st.warning(sentence, icon=":material/link_off:")
