"""Plotly figures of a ledger: every head's share in a logit, and the way from the biases to the logit."""

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from explorer.attention.ledger import Ledger
from explorer.rendering.charts import MARGIN
from explorer.rendering.colormaps import DIVERGING, lookup_table

STEP = 255 // 15
SCALE = [[place / 255, "rgb({},{},{})".format(*lookup_table(DIVERGING)[place])] for place in range(0, 256, STEP)]
UP, DOWN, TOTAL = "#b2182b", "#2166ac", "#78716c"  # as the diverging map: red for, blue against


def layer_shares(account: Ledger) -> Float[np.ndarray, "layer head"]:
    """What each head adds, of all tokens that it reads."""
    return account.heads.sum(axis=2)


def heads_figure(account: Ledger, chosen: tuple[int, int], accent: str) -> go.Figure:
    """Layers from left to right, heads from top to bottom, MLPs in a last line; a frame around one head."""
    heads = layer_shares(account)
    table = np.concatenate([heads.T, account.mlps[None]])
    depth, count = heads.shape
    limit = max(float(np.abs(table).max()), 1e-12)
    names = [*map(str, range(count)), "MLP"]
    parts = [f"head {name}" for name in names[:-1]] + ["MLP"]
    heat = go.Heatmap(
        z=table, x=list(range(depth)), y=list(range(count + 1)), colorscale=SCALE, zmin=-limit, zmax=limit,
        xgap=1, ygap=1, colorbar={"thickness": 12, "title": "adds"},
        hoverinfo="skip",
    )  # fmt: skip
    x, y = (axis.ravel() for axis in np.meshgrid(range(depth), range(count + 1)))
    cells = go.Scatter(  # a heatmap's cells can't be clicked
        x=x, y=y, mode="markers", marker={"size": 24, "symbol": "square", "opacity": 0}, showlegend=False,
        customdata=[[parts[row], table[row, layer]] for layer, row in zip(x, y, strict=True)],
        hovertemplate="layer %{x} · %{customdata[0]}: %{customdata[1]:+.3f}<extra></extra>",
    )  # fmt: skip
    figure = go.Figure([heat, cells])
    layer, head = chosen
    figure.add_shape(
        type="rect", x0=layer - 0.5, x1=layer + 0.5, y0=head - 0.5, y1=head + 0.5, line={"color": accent, "width": 2.5}
    )
    figure.update_xaxes(
        title="layer", dtick=1, range=[-0.5, depth - 0.5], fixedrange=True, showgrid=False, zeroline=False
    )
    figure.update_yaxes(
        title="head", tickvals=list(range(count + 1)), ticktext=names, range=[count + 0.5, -0.5], fixedrange=True,
        showgrid=False, zeroline=False,
    )  # fmt: skip
    return figure.update_layout(height=110 + 26 * max(4, count + 1), margin=MARGIN, dragmode=False)


def waterfall_figure(account: Ledger) -> go.Figure:
    """From the biases over the embeddings, every layer's heads and its MLP to the logit."""
    steps = [("biases", float(account.biases.sum())), ("embeddings", float(account.embeddings.sum()))]
    for layer, (heads, mlp) in enumerate(zip(layer_shares(account).sum(axis=1), account.mlps, strict=True)):
        steps += [(f"{layer} heads", float(heads)), (f"{layer} MLP", float(mlp))]
    names, values = [name for name, _ in steps], [value for _, value in steps]
    figure = go.Figure(
        go.Waterfall(
            x=[*names, "score"], y=[*values, account.total], measure=["relative"] * len(steps) + ["total"],
            increasing={"marker": {"color": UP}}, decreasing={"marker": {"color": DOWN}},
            totals={"marker": {"color": TOTAL}}, connector={"line": {"color": TOTAL, "width": 1}},
            hovertemplate="%{x}: %{delta:+.3f}, then %{final:.3f}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(fixedrange=True, tickangle=-60, automargin=True)
    figure.update_yaxes(title="score so far", fixedrange=True)
    return figure.update_layout(height=420, margin=MARGIN, showlegend=False)
