"""What the page Inside shows of its numbers as HTML: rows of vectors, small maps side by side, a bar of colours."""

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np
import streamlit as st
from PIL import Image

from explorer.rendering.colormaps import colorize
from explorer.rendering.overlay import normalize
from explorer.rendering.patches import vector_strip

MAP = 224  # pixels a small map is wide at least
STRIP = 36  # pixels a vector is high


class Line(NamedTuple):
    """A vector with its name; picture: the patch it belongs to, number: what stands beside the name."""

    name: str
    vector: np.ndarray
    number: str = ""
    picture: Image.Image | None = None


def vectors(lines: Sequence[Line]) -> None:
    """One strip of colours under the other, teal below 0, orange above, all in one scale."""
    limit = float(np.percentile(np.abs(np.concatenate([line.vector for line in lines])), 99))
    st.html(f'<div class="vectors">{"".join(_line(line, limit) for line in lines)}</div>')


def _line(line: Line, limit: float) -> str:
    picture = "" if line.picture is None else f'<img class="patch" src="{data_uri(line.picture)}" alt="">'
    words = f"{escape(line.name)}{f' <b>{escape(line.number)}</b>' if line.number else ''}"
    strip = vector_strip(line.vector, limit, STRIP)
    return (
        f"<figure><figcaption>{picture}<span>{words}</span></figcaption>"
        f'<img class="strip" src="{data_uri(strip)}" alt="{escape(line.name)}: {len(line.vector)} numbers"></figure>'
    )


def small_maps(maps: Sequence[np.ndarray], names: Sequence[str], colormap: str, low: float, high: float) -> None:
    """Maps (rows, cols) side by side in one scale, as many in a row as fit."""
    cells = (
        f'<figure><img src="{data_uri(_small(heatmap, colormap, low, high))}" alt="{escape(name)}">'
        f"<figcaption>{escape(name)}</figcaption></figure>"
        for heatmap, name in zip(maps, names, strict=True)
    )
    st.html(f'<div class="small-maps">{"".join(cells)}</div>')


def _small(heatmap: np.ndarray, colormap: str, low: float, high: float) -> Image.Image:
    zoom = max(1, round(MAP / max(heatmap.shape)))
    picture = Image.fromarray(colorize(normalize(heatmap, low, high), colormap))
    return picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.NEAREST)


def data_uri(picture: Image.Image) -> str:
    """The picture as a PNG in an address."""
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
