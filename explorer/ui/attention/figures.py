"""The figure of the Matrix tab: the attention matrix of one head."""

from typing import Any

import numpy as np
import plotly.graph_objects as go

from explorer.rendering.colormaps import lookup_table

LARGEST_MATRIX = 800  # cells per side; larger matrices are shown in blocks


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
