"""Plotly figures of evidence, divergence and its course over a training."""

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from explorer.attention.divergence import Divergence, History
from explorer.attention.evidence import CONTROLS, Evidence
from explorer.attention.evidence_mean import Band, mean_bands, spread_of
from explorer.rendering.colormaps import lookup_table
from explorer.rendering.evidence_drawing import TITLES, colour_of
from explorer.words import PERCENT_AXIS

NAMES = {"map": "this map", "random": "random order", "centre": "centre first"}
DASHES = {"random": "dot", "centre": "dash"}
MARGIN = {"l": 8, "r": 8, "t": 8, "b": 8}
LEAST_BITS = 1e-3  # upper end of the scale where nothing differs more


def evidence_figure(evidence: Evidence) -> go.Figure:
    """Deletion and insertion side by side, the area under each curve in its name."""
    return bands_figure(mean_bands([evidence]))


def bands_figure(bands: Sequence[Band]) -> go.Figure:
    """The same over one photo or several: lines are means, areas around them one standard deviation."""
    figure = make_subplots(1, 2, subplot_titles=list(TITLES.values()), shared_yaxes=True, horizontal_spacing=0.06)
    maps = [band.order for band in bands if band.game == "deletion" and band.order not in CONTROLS]
    for column, game in enumerate(TITLES, start=1):
        for band in (band for band in bands if band.game == game):
            for trace in _traces(band, maps):
                figure.add_trace(trace, row=1, col=column)
    figure.update_xaxes(title="Share of patches", range=[0, 100], **PERCENT_AXIS)
    figure.update_yaxes(rangemode="tozero")
    figure.update_yaxes(title="Class probability", row=1, col=1)
    # One legend per game, since the areas differ; none is called "legend", which a theme colours differently.
    places = {"legend2": 0.0, "legend3": 0.53}
    legends = {name: {"x": x, "y": -0.28, "yanchor": "top", "orientation": "v"} for name, x in places.items()}
    height = 360 + 23 * (len(maps) + len(CONTROLS))
    return figure.update_layout({"height": height, "margin": {"l": 8, "r": 8, "t": 40, "b": 8}, **legends})


def _traces(band: Band, maps: Sequence[str]) -> list[go.Scatter]:
    """A band's line and, over several photos, the area of one standard deviation around it."""
    colour, control = colour_of(band.order, maps), band.order in CONTROLS
    several, name = len(band.areas) > 1, NAMES.get(band.order, band.order)
    spread = f" ± {float(spread_of(band.areas)):.3f}" if several else ""
    line = go.Scatter(
        x=100 * band.shares, y=band.mean, name=f"{name}: area {band.areas.mean():.3f}{spread}",
        line={"color": "rgb({},{},{})".format(*colour), "dash": DASHES.get(band.order, "solid"),
              "width": 2 if control else 3},
        legend="legend2" if band.game == "deletion" else "legend3", hovertemplate="%{x:.0f} %: %{y:.3f}<extra></extra>",
    )  # fmt: skip
    if not several:
        return [line]
    area = go.Scatter(
        x=[*(100 * band.shares), *(100 * band.shares[::-1])],
        y=[*(band.mean + band.spread), *(band.mean - band.spread)[::-1]],
        fill="toself", fillcolor="rgba({},{},{},0.14)".format(*colour), line={"width": 0}, hoverinfo="skip",
        showlegend=False, mode="lines",
    )  # fmt: skip
    return [area, line]


def divergence_figure(result: Divergence) -> go.Figure:
    """Layers from left to right, heads from top to bottom, in bits."""
    layers = [str(a) if a == b else f"{a} / {b}" for a, b in result.layers]
    heads = [str(head) for head in result.heads]
    heat = go.Heatmap(
        z=result.table.T,
        x=layers,
        y=heads,
        colorscale="Viridis",
        zmin=0,  # counts only beside a zmax; without, a table of zeros would go from -0.5 to 0.5
        zmax=max(float(result.table.max()), LEAST_BITS),
        colorbar={"title": "bits", "thickness": 12},
        hovertemplate="layer %{x} · head %{y}<br>%{z:.4f} bits<extra></extra>",
        xgap=1,
        ygap=1,
    )
    figure = go.Figure(heat)
    figure.update_xaxes(title="Layer", type="category")
    figure.update_yaxes(title="Head", type="category", autorange="reversed")
    return figure.update_layout(height=120 + 26 * max(4, len(heads)), margin=MARGIN)


def history_figure(history: History, layer: int, epoch: int) -> go.Figure:
    """A line for every layer, mean over heads, from blue for the first to yellow for the last; one layer stands out."""
    depth = history.table.shape[1]
    table = lookup_table("viridis")
    figure = go.Figure()
    for index, bits in enumerate(history.by_layer.T):
        colour = table[round(75 + 145 * index / max(1, depth - 1))]  # the ends would vanish on black or on white
        chosen = index == layer
        figure.add_scatter(
            x=history.epochs, y=bits, name=f"layer {index}", mode="lines+markers",
            line={"color": "rgb({},{},{})".format(*colour), "width": 4 if chosen else 1.5}, marker={"size": 5},
            hovertemplate=f"layer {index}, epoch %{{x}}: %{{y:.4f}} bits<extra></extra>",
        )  # fmt: skip
    figure.add_vline(x=epoch, line={"color": "#78716c", "dash": "dot", "width": 1.5})
    figure.update_xaxes(title="Epoch", tickvals=history.epochs)
    figure.update_yaxes(title="Divergence from the start (bits)", rangemode="tozero")
    return figure.update_layout(height=380, margin=MARGIN)
