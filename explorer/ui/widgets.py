"""Small pieces that several pages share: lists of facts, hints, legends, progress bars, the app's style."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from html import escape

import streamlit as st

from explorer.attention.maps.kind import MapKind, Progress
from explorer.rendering.colormaps import lookup_table
from explorer.ui.components import asset

PLAIN = {"displayModeBar": False}  # a Plotly chart without its toolbar
_FACTS = (
    "display:grid;grid-template-columns:repeat(auto-fill,minmax(88px,1fr));gap:18px 16px;margin:0 0 4px;padding:0;"
    "font-variant-numeric:tabular-nums"
)


def style() -> None:
    """The few rules that the theme has no option for; called once per run."""
    st.html(f"<style>{asset('app.css')}</style>")


def script() -> None:
    """Have Back lead to the page before and a phone's sidebar close; last in the sidebar, where it takes no room."""
    st.html(f"<script>{asset('history.js')}{asset('phone.js')}</script>", unsafe_allow_javascript=True)


def facts(items: Mapping[str, str]) -> None:
    """Labels and short values side by side, as many in a row as fit."""
    cells = "".join(
        f'<div><dt style="font-size:.85rem;opacity:.75">{escape(label)}</dt>'
        f'<dd style="margin:0;font-size:1.45rem;line-height:1.3">{escape(value)}</dd></div>'
        for label, value in items.items()
    )
    st.html(f'<dl style="{_FACTS}">{cells}</dl>')


def layer_slider(title: str, depth: int, key: str) -> int:
    """One of `depth` layers, kept for the session under that key, whose value is set before; of one there's no slider.

    Call it in the container where it is to stand.
    """
    return st.slider(title, 0, depth - 1, key=key, persist_state="session") if depth > 1 else 0


def hint(mouse: str, touch: str, key: str) -> None:
    """What to do with mouse and keys or, on a touch screen, `touch`."""
    for kind, words in (("mouse", mouse), ("touch", touch)):
        with st.container(key=f"by_{kind}_{key}"):
            st.markdown(words)


def colour_bar(colormap: str, low: str, high: str) -> None:
    """A map's colours from its lowest to its highest value, with both in words."""
    stops = lookup_table(colormap)[:: 255 // 15]
    colours = ",".join(f"rgb({red} {green} {blue})" for red, green, blue in stops.tolist())
    st.html(
        f'<div class="colour-bar"><span>{escape(low)}</span><i style="background:linear-gradient(90deg,{colours})"></i>'
        f"<span>{escape(high)}</span></div>"
    )


def legend(colours: Mapping[str, tuple[int, int, int]]) -> None:
    """What each colour stands for."""
    entries = (
        f'<span><i style="background:rgb({red} {green} {blue})"></i>{escape(name)}</span>'
        for name, (red, green, blue) in colours.items()
    )
    st.html(f'<div class="legend">{"".join(entries)}</div>')


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


@contextmanager
def map_progress(kind: MapKind) -> Iterator[Progress | None]:
    """What shows that a map of that kind is being made: a bar for one that takes long, which it feeds."""
    if kind.long:
        with progress_bar(kind.title) as show:
            yield show
    else:
        with st.spinner("Asking the model …", show_time=False):
            yield None
