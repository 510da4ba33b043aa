"""Choices in the address by their keys, so that a link outlives a renamed label.

Streamlit's bind="query-params" writes the label of what was picked, and forgets a widget that isn't drawn. A widget
whose labels differ from its options, or that several tabs draw, gets key=KEY and persist_state="session" instead, with
take(KEY, …) before it and write(KEY, …) after it.

Back and Forward bring an address whose settings are to be shown, whatever the session holds by then: forget_settings()
drops them at the start of such a run, so that everything that asks `take`, or is named by `keep_in_address`, reads the
address again. Streamlit does the same for its bound widgets.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

_NAMED = "named_in_address"  # keys of the session's settings that the address holds

T = TypeVar("T")
Read = Callable[[str], T | None]  # what a text stands for, None for nothing


def by_key(labels: Mapping[str, str]) -> Read[str]:
    """Reads a key of `labels`, or a label as older links have it."""
    keys = {label: key for key, label in labels.items()}
    return lambda text: text if text in labels else keys.get(text)


def number(kind: Callable[[str], T], low: float, high: float) -> Read[T]:
    """Reads an int or a float within bounds, in plain digits."""

    def read(text: str) -> T | None:
        try:  # float first: int() takes no more than 4,300 digits
            return kind(text) if text.isascii() and low <= float(text) <= high else None
        except ValueError:
            return None

    return read


def read_patch(grid: tuple[int, int]) -> Read[tuple[int, int]]:
    """Reads a patch, "row,col", of that grid."""

    def read(text: str) -> tuple[int, int] | None:
        places = [number(int, 0, side - 1)(part) for part, side in zip(text.split(",", 1), grid, strict=False)]
        known = [place for place in places if place is not None]
        return (known[0], known[1]) if len(places) == len(known) == 2 else None

    return read


def keep_in_address(key: str) -> None:
    """Register a setting that the address holds, so that Back and Forward restore it."""
    st.session_state.setdefault(_NAMED, set()).add(key)


def forget_settings() -> None:
    """In a run that Back or Forward began, drop the session's values of the settings in the address."""
    context = get_script_run_ctx()
    if context is not None and context.is_history_navigation:
        for key in st.session_state.get(_NAMED, ()):
            st.session_state.pop(key, None)


def take(key: str, read: Read[T], default: T) -> str | None:
    """Give the widget of that key its value: what this session has, else what the address says, else the default.

    A value of this session that can't be read any more becomes the default. Returns what the address says
    where that can't be read.
    """
    keep_in_address(key)
    first = key not in st.session_state
    text = st.query_params.get(key, str(default)) if first else str(st.session_state[key])
    value = read(text)
    if first or st.session_state[key] != value:
        st.session_state[key] = default if value is None else value
    return text if first and value is None else None


def write(key: str, text: str | None) -> None:
    """Put the choice into the address, or take it out with None."""
    if text is None:
        st.query_params.pop(key, None)
    elif st.query_params.get(key) != text:
        st.query_params[key] = text


def write_unless(key: str, default: object) -> None:
    """Put the widget's value into the address, but not its default."""
    value = st.session_state[key]
    write(key, None if value == default else str(value))
