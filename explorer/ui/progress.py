"""A progress bar for work that reports (done, total)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import streamlit as st


@contextmanager
def progress_bar(text: str) -> Iterator[Callable[[int, int], None]]:
    """A bar that the block feeds, gone after it. Any click of the person ends the work at its next report."""
    place = st.empty()
    place.progress(0.0, f"{text} …")

    def show(done: int, total: int) -> None:
        place.progress(done / total, f"{text}: {done} of {total}")

    try:
        yield show
    finally:
        place.empty()
