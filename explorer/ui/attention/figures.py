"""The figures under the canvas: every layer and head in one mosaic, and the attention matrix of one head."""

import base64
import io
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import plotly.graph_objects as go
from PIL import Image

from explorer.attention.recording import Recording
from explorer.rendering.colormaps import colorize, lookup_table
from explorer.rendering.overlay import enlarge, normalize
from explorer.rendering.view import View, shown_heads

TILE = 64  # pixels of a mosaic tile's long side
GAP = 2  # pixels left free on each of its sides
WIDTH = 1000  # pixels that a mosaic is about wide
KEPT = 4  # mosaics kept for a recording
LARGEST_MATRIX = 800  # cells per side; larger matrices are shown in blocks
MARGIN = {"l": 8, "r": 8, "t": 8, "b": 8}


@dataclass(frozen=True)
class Mosaic:
    """Every layer and head of a recording from one query, as one picture."""

    source: str  # data URI of a PNG, layers from left to right, heads from top to bottom
    peaks: np.ndarray  # (layer, head) highest weight on a patch


_MOSAICS: WeakKeyDictionary[Recording, dict[tuple, Mosaic]] = WeakKeyDictionary()


def mosaic(rec: Recording, view: View) -> Mosaic:
    """The mosaic of a recording; it doesn't change with the layer, so the latest few are kept with the recording."""
    kept = _MOSAICS.setdefault(rec, {})
    look = view.look
    key = (view.map["query"], look.colormap, look.scale, look.resample, look.hide_artefacts)
    if key not in kept:
        maps = np.stack([shown_heads(view.with_map(layer=layer), rec) for layer in range(rec.depth)])
        while len(kept) >= KEPT:
            kept.pop(next(iter(kept)))
        drawn = mosaic_picture(maps, look.colormap, look.scale, look.resample)
        kept[key] = Mosaic(_data_uri(drawn), maps.max(axis=(2, 3)))
    return kept[key]


def mosaic_picture(maps: np.ndarray, colormap: str, scale: str, resample: str) -> Image.Image:
    """maps (layer, head, rows, cols) -> RGBA, a tile each, see-through between the tiles."""
    depth, heads, rows, cols = maps.shape
    width, height = (max(4 * GAP, round(TILE * side / max(rows, cols))) for side in (cols, rows))
    low, high = {"map": (None, None), "shared": (float(maps.min()), float(maps.max())), "raw": (0.0, 1.0)}[scale]
    picture = Image.new("RGBA", (depth * width, heads * height))
    for layer, head in np.ndindex(depth, heads):
        units = normalize(maps[layer, head], low, high)
        tile = colorize(enlarge(units, (width - 2 * GAP, height - 2 * GAP), resample), colormap)
        picture.paste(Image.fromarray(tile), (layer * width + GAP, head * height + GAP))
    return picture


def _data_uri(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def mosaic_figure(shown: Mosaic, grid: tuple[int, int], layer: int, head: int | str, accent: str) -> go.Figure:
    """The mosaic with its axes, a tile to click for every layer and head, and a frame around the one shown."""
    depth, heads = shown.peaks.shape
    x, y = (axis.ravel() for axis in np.meshgrid(range(depth), range(heads)))
    figure = go.Figure(
        go.Scatter(
            x=x, y=y, mode="markers", marker={"size": 40, "symbol": "square", "opacity": 0},
            customdata=shown.peaks.T.ravel(),
            hovertemplate="layer %{x} · head %{y}<br>highest weight %{customdata:.4f}<extra></extra>",
        )
    )  # fmt: skip
    place = {"xref": "x", "yref": "y", "x": -0.5, "y": -0.5, "sizex": depth, "sizey": heads}
    figure.add_layout_image(source=shown.source, sizing="stretch", layer="below", **place)
    top, bottom = (-0.5, heads - 0.5) if isinstance(head, str) else (head - 0.5, head + 0.5)
    frame = {"x0": layer - 0.5, "x1": layer + 0.5, "y0": top, "y1": bottom}
    figure.add_shape(type="rect", line={"color": accent, "width": 2.5}, **frame)
    axis = {"showgrid": False, "zeroline": False, "dtick": 1, "fixedrange": True, "ticks": "", "constrain": "domain"}
    shape = {"scaleanchor": "x", "scaleratio": grid[0] / grid[1], "constraintoward": "top"}  # tiles keep the photo's
    figure.update_xaxes(title="layer", range=[-0.5, depth - 0.5], side="top", **axis)
    figure.update_yaxes(title="head", range=[heads - 0.5, -0.5], **axis, **shape)
    height = round(WIDTH / depth * grid[0] / grid[1] * heads) + 70
    figure.update_layout(height=height, margin=MARGIN, dragmode=False, showlegend=False)
    return figure


def in_blocks(matrix: np.ndarray, largest: int = LARGEST_MATRIX) -> tuple[np.ndarray, int]:
    """The matrix with blocks of `block` x `block` cells averaged so that no side is longer than largest, and block."""
    block = -(-len(matrix) // largest)
    starts = np.arange(0, len(matrix), block)
    counts = np.diff(np.append(starts, len(matrix)))
    summed = np.add.reduceat(np.add.reduceat(matrix, starts, axis=0), starts, axis=1)
    return (summed / np.outer(counts, counts)).astype(np.float32), block


def matrix_figure(matrix: np.ndarray, colormap: str) -> go.Figure:
    """A (query, key) matrix as a heatmap; its colours end at the 99.5th percentile, or few weights hide the rest."""
    cells, block = in_blocks(matrix)
    scale = [[i / 16, "rgb({},{},{})".format(*lookup_table(colormap)[round(i * 255 / 16)])] for i in range(17)]
    tokens = np.arange(len(cells)) * block
    low, high = float(cells.min()), float(np.percentile(cells, 99.5))
    heatmap: dict[str, Any] = {"z": cells, "x": tokens, "y": tokens, "zmin": low, "zmax": high, "colorscale": scale}
    figure = go.Figure(
        go.Heatmap(
            **heatmap,
            colorbar={"thickness": 10, "y": 1, "yanchor": "top", "len": 1},
            hovertemplate="query %{y} · key %{x}<br>%{z:.4g}<extra></extra>",
        )
    )
    square = {"constrain": "domain", "showgrid": False, "automargin": False}
    figure.update_xaxes(title="key token", constraintoward="left", **square)
    figure.update_yaxes(
        title="query token", autorange="reversed", scaleanchor="x", constraintoward="top", **square
    )  # fmt: skip
    # Room for any numbers beside the axis and the colour bar, so that two matrices side by side are of one size.
    figure.update_layout(height=400, margin={"l": 60, "r": 80, "t": 8, "b": 48})
    return figure
