"""The figures under the canvas: every layer and head in one mosaic, and the attention matrix of one head."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
from PIL import Image

from explorer.attention.recording import Query, Recording
from explorer.rendering.colormaps import colorize, lookup_table
from explorer.rendering.overlay import normalize

TILE = 96  # pixels of a mosaic tile's long side
GAP = 0.03  # of a tile, left free on each of its sides
LARGEST_MATRIX = 800  # cells a side; larger matrices are shown in blocks
MARGIN = {"l": 8, "r": 8, "t": 8, "b": 8}


def all_maps(rec: Recording, query: Query | None) -> np.ndarray:
    """Every layer and head from one query, (layer, head, rows, cols) float32."""
    return np.stack([rec.heads(layer, query) for layer in range(rec.depth)])


def mosaic(maps: np.ndarray, colormap: str, scale: str, smooth: bool) -> Image.Image:
    """maps (layer, head, rows, cols) -> one picture, layers from left to right, heads from top to bottom."""
    depth, heads, rows, cols = maps.shape
    width, height = round(TILE * cols / max(rows, cols)), round(TILE * rows / max(rows, cols))
    gap = round(TILE * GAP)
    low, high = {"map": (None, None), "shared": (float(maps.min()), float(maps.max())), "raw": (0.0, 1.0)}[scale]
    canvas = Image.new("RGBA", (depth * width, heads * height))
    resample = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    for layer in range(depth):
        for head in range(heads):
            units = Image.fromarray(normalize(maps[layer, head], low, high))
            units = units.resize((width - 2 * gap, height - 2 * gap), resample)
            tile = Image.fromarray(colorize(np.array(units), colormap))
            canvas.paste(tile, (layer * width + gap, head * height + gap))
    return canvas


def mosaic_figure(maps: np.ndarray, picture: Image.Image, layer: int, head: int | str, accent: str) -> go.Figure:
    """The mosaic with its axes, a tile to click for every layer and head, and a frame around the one shown."""
    depth, heads, rows, cols = maps.shape
    x, y = (axis.ravel() for axis in np.meshgrid(range(depth), range(heads)))
    peaks = maps.max(axis=(2, 3)).T.ravel()
    figure = go.Figure(
        go.Scatter(
            x=x, y=y, mode="markers", marker={"size": 40, "symbol": "square", "opacity": 0}, customdata=peaks,
            hovertemplate="layer %{x} · head %{y}<br>highest weight %{customdata:.4f}<extra></extra>",
        )
    )  # fmt: skip
    place = {"xref": "x", "yref": "y", "x": -0.5, "y": -0.5, "sizex": depth, "sizey": heads}
    figure.add_layout_image(source=picture, sizing="stretch", layer="below", **place)
    top, bottom = (-0.5, heads - 0.5) if isinstance(head, str) else (head - 0.5, head + 0.5)
    figure.add_shape(
        type="rect", x0=layer - 0.5, x1=layer + 0.5, y0=top, y1=bottom, line={"color": accent, "width": 2.5}
    )
    axis = {"showgrid": False, "zeroline": False, "dtick": 1, "fixedrange": True, "ticks": ""}
    figure.update_xaxes(title="layer", range=[-0.5, depth - 0.5], side="top", **axis)
    figure.update_yaxes(title="head", range=[heads - 0.5, -0.5], **axis)
    tile_height = 1000 / depth * rows / cols
    figure.update_layout(height=round(tile_height * heads) + 70, margin=MARGIN, dragmode=False, showlegend=False)
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
            colorbar={"thickness": 10, "len": 0.9},
            hovertemplate="query %{y} · key %{x}<br>%{z:.4g}<extra></extra>",
        )
    )
    figure.update_xaxes(title="key token", constrain="domain", showgrid=False)
    figure.update_yaxes(title="query token", autorange="reversed", scaleanchor="x", constrain="domain", showgrid=False)
    figure.update_layout(height=460, margin=MARGIN)
    return figure
