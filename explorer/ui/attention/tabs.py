"""The tabs under the canvas, of which only the open one is computed; those that are short are drawn here."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from explorer.attention.metrics import head_entropy, mean_attention_distance, prefix_share
from explorer.attention.queries import query_name
from explorer.attention.recording import Recording
from explorer.rendering.colormaps import lookup_table
from explorer.rendering.view import View, picture
from explorer.ui.attention.account import account_tab
from explorer.ui.attention.artefacts import artefacts_tab
from explorer.ui.attention.evidence import evidence_tab
from explorer.ui.attention.lens import lens_tab
from explorer.ui.attention.relevance import relevance_tab
from explorer.ui.attention.share import share_tab
from explorer.ui.attention.what_if import what_if_tab
from explorer.ui.glossary import explain
from explorer.ui.map_picker import canvas_place, pick_settings
from explorer.ui.view_settings import asked_from, layer_words
from explorer.ui.widgets import PLAIN

LARGEST_MATRIX = 800  # cells per side; larger matrices are shown in blocks


def tabs(rec: Recording, view: View) -> None:
    """More of what the canvas shows: what it means for a class, whether it matters, and files of it."""
    _name_groups()
    for tab, draw in zip(st.tabs(list(TABS), key="tab", bind="query-params"), TABS.values(), strict=True):
        if tab.open:
            with tab:
                draw(rec, view)


def _name_groups() -> None:
    """Write each group's name before its first tab, where there is room for it."""
    rules, titles = [], list(TABS)
    for name, group in GROUPS.items():
        tab = f'.st-key-tab [data-key="{titles.index(next(iter(group)))}"]'
        rules.append(f'{tab} {{ --group: "{name}"; --room: {0.4 * len(name) + 0.8:.1f}rem; --line: 1px; }}')
    st.html(f"<style>{' '.join(rules)}</style>")


def _rollout(rec: Recording, view: View) -> None:
    explain(
        "[[Rollout]]: attention followed through the layers down to the input patches (Abnar & Zuidema 2020), "
        "beside the attention of the layer and head above.",
        small=True,
    )
    shown = pick_settings("rollout", canvas_place(rec, view))
    if shown is None:
        return
    rolled = shown.view
    with st.spinner("Following the attention through the layers …", show_time=False):
        left, right = picture(rolled, rec, zoom=2), picture(view, rec, zoom=2)
    asked = asked_from(rec, view)
    rollout_at, raw_at = st.columns(2)
    rollout_at.image(
        left, caption=f"Rollout from {asked}, layers {rolled.map['start_layer']} to {rec.depth - 1}", width="stretch"
    )
    raw_at.image(
        right,
        caption=f"Attention from {asked}, {layer_words(view)}",
        width="stretch",
    )


def _matrix(rec: Recording, view: View) -> None:
    layer, head = view.map["layer"], view.map["head"]
    pattern = rec.matrix(layer, head, "pattern")
    block = in_blocks(pattern)[1]
    first = f"first {', '.join(rec.prefix_tokens)}, then the patches row by row" if rec.prefix_tokens else "row by row"
    averaged = f" Each cell is the mean of {block} × {block} tokens." if block > 1 else ""
    st.caption(f"Every token asks (rows) every token (columns), {first}.{averaged}")
    both = {"Scores, before softmax": rec.matrix(layer, head, "scores"), "Pattern, after softmax": pattern}
    for column, (title, matrix) in zip(st.columns(2), both.items(), strict=True):
        column.markdown(f"**{title}**")
        figure = matrix_figure(matrix, view.look.colormap)
        column.plotly_chart(figure, key=title, width="stretch", config=PLAIN)


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


def _numbers(rec: Recording, view: View) -> None:
    layer, query = view.map["layer"], view.map["query"]
    st.caption(f"Layer {layer}, from {query_name(query or rec.default_query)}; distances over all patch queries.")
    weights = rec.rows(layer, query)
    table = {
        "head": list(range(rec.num_heads)),
        "entropy": head_entropy(rec, layer, query),
        "distance": mean_attention_distance(rec, layer),
        "prefix": 100 * prefix_share(rec, layer, query),
        "highest": weights[:, len(rec.prefix_tokens) :].max(axis=1),
    }
    number = st.column_config.NumberColumn
    columns = {
        "head": number("Head"),
        "entropy": number(
            "Entropy (nats)",
            format="%.2f",
            help="How widely it looks. 0: all on one token; ln(tokens): spread evenly. 1 nat is 1.44 bits.",
        ),
        "distance": number("Mean distance (pixels)", format="%.1f", help="How far patches look, weighted by attention"),
        "prefix": st.column_config.ProgressColumn(
            "On prefix tokens",
            format="%.1f %%",
            min_value=0,
            max_value=100,
            help="What lands on cls and registers",
        ),
        "highest": number("Highest weight on a patch", format="%.4f"),
    }
    st.dataframe(table, column_config=columns, hide_index=True, width="stretch")


GROUPS = {
    "Look": {"Rollout": _rollout, "Matrix": _matrix, "Artefact tokens": artefacts_tab, "Numbers": _numbers},
    "Explain": {"Relevance": relevance_tab, "Account": account_tab, "Lens": lens_tab, "What if": what_if_tab},
    "Measure": {"Evidence": evidence_tab},
    "Take away": {"Share": share_tab},
}
TABS = {title: draw for group in GROUPS.values() for title, draw in group.items()}
