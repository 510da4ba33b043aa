"""The steps of the Fine-tune page as tabs; the address holds the open one and the run that is looked at."""

from typing import Any

import streamlit as st

STEPS = ("Data", "Plan", "Train", "Result", "Runs")
RUN = "run"  # the name of the run that Train and Result show
_NEXT = "finetune_next"  # settings that the next run of the page begins with


def steps() -> list[Any]:
    """The tabs; only the open one needs to be drawn."""
    st.session_state.update(st.session_state.pop(_NEXT, {}))
    return list(st.tabs(STEPS, key="step", bind="query-params", on_change="rerun"))


def open_next(step: str, **settings: Any) -> None:
    """Have the next run of the page begin with that step open: for a callback."""
    st.session_state[_NEXT] = {"step": step, **settings}


def go_to(step: str, **settings: Any) -> None:
    """Run the page again with that step open."""
    open_next(step, **settings)
    st.rerun()
