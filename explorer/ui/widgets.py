"""Small pieces that several pages show: a list of facts, the app's own style."""

import base64
import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from html import escape

import numpy as np
import plotly.graph_objects as go
import streamlit as st
from PIL import Image

from explorer.ui.components import asset

PLAIN = {"displayModeBar": False}  # a Plotly chart without its toolbar
_FACTS = (
    "display:grid;grid-template-columns:repeat(auto-fill,minmax(88px,1fr));gap:18px 16px;margin:0 0 4px;padding:0;"
    "font-variant-numeric:tabular-nums"
)


def style() -> None:
    """The few rules that the theme has no option for; called once a run."""
    st.html(f"<style>{asset('app.css')}</style>")


def script() -> None:
    """Have Back lead to the page before; drawn last in the sidebar, where the empty element takes no room."""
    st.html(f"<script>{asset('history.js')}</script>", unsafe_allow_javascript=True)


def facts(items: Mapping[str, str]) -> None:
    """Labels and short values side by side, as many in a row as fit."""
    cells = "".join(
        f'<div><dt style="font-size:.85rem;opacity:.75">{escape(label)}</dt>'
        f'<dd style="margin:0;font-size:1.45rem;line-height:1.3">{escape(value)}</dd></div>'
        for label, value in items.items()
    )
    st.html(f'<dl style="{_FACTS}">{cells}</dl>')


def clickable_picture(
    image: Image.Image, values: np.ndarray, picked: tuple[int, int] | None, key: str, on_pick: Callable[[], None]
) -> None:
    """Draw it; values (rows, cols) show under the mouse; after a click, clicked_patch(key) is the patch."""
    st.plotly_chart(
        picture_figure(image, values, picked), key=key, on_select=on_pick, selection_mode="points", width="stretch",
        config=PLAIN,
    )  # fmt: skip


def clicked_patch(key: str) -> tuple[int, int] | None:
    """(row, col) of the newest click, or None."""
    points = st.session_state[key]["selection"]["points"]
    return (int(points[0]["y"]), int(points[0]["x"])) if points else None


def picture_figure(image: Image.Image, values: np.ndarray, picked: tuple[int, int] | None) -> go.Figure:
    """The picture over patch coordinates, with an invisible marker on every patch and a frame around the picked one."""
    rows, cols = values.shape
    y, x = (axis.ravel() for axis in np.mgrid[:rows, :cols])
    markers = {"size": max(4, 420 // max(rows, cols)), "symbol": "square", "opacity": 0}
    figure = go.Figure(
        go.Scatter(
            x=x, y=y, mode="markers", marker=markers, customdata=values.ravel(), unselected={"marker": {"opacity": 0}},
            selected={"marker": {"opacity": 0}}, hovertemplate="patch (%{y}, %{x}): %{customdata:.3f}<extra></extra>",
        )
    )  # fmt: skip
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    figure.add_layout_image(
        source="data:image/png;base64," + base64.b64encode(file.getvalue()).decode(),
        x=-0.5, y=-0.5, sizex=cols, sizey=rows, xref="x", yref="y", sizing="stretch", layer="below",
    )  # fmt: skip
    if picked is not None:
        row, col = picked
        for color, width in (("black", 4), ("white", 2)):
            line = {"color": color, "width": width}
            figure.add_shape(type="rect", x0=col - 0.5, x1=col + 0.5, y0=row - 0.5, y1=row + 0.5, line=line)
    figure.update_xaxes(visible=False, range=[-0.5, cols - 0.5], constrain="domain", fixedrange=True)
    figure.update_yaxes(visible=False, range=[rows - 0.5, -0.5], scaleanchor="x", constrain="domain", fixedrange=True)
    height = round(440 * min(1.0, image.height / image.width))
    return figure.update_layout(height=height, margin={"l": 0, "r": 0, "t": 0, "b": 0}, dragmode=False)


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
