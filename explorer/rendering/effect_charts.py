"""Plotly figures of what edits do: classes before and after, and a map of all layers and heads."""

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from explorer.attention.interventions.effect import Effect
from explorer.rendering.account import SCALE
from explorer.words import PERCENT_AXIS, chart_text, percent

BEFORE, AFTER = "#a8a29e", "#ea580c"
SMALL = 1e-6  # the end of a scale where nothing is larger
LONGEST = 28  # letters of a class's name


def effect_figure(effect: Effect) -> go.Figure:
    """The likeliest classes, a bar before and one after for each, the likeliest on top."""
    shares = effect.model.outputs != "number"
    names = [chart_text(f"{one.name}", LONGEST) for one in effect.top]
    places = list(range(len(names)))
    figure = go.Figure()
    for side, (name, colour) in enumerate((("before", BEFORE), ("after", AFTER))):
        values = [(one.probabilities if shares else one.logits)[side] for one in effect.top]
        figure.add_bar(
            x=[100 * value if shares else value for value in values], y=places, orientation="h", name=name,
            marker={"color": colour}, textposition="outside",
            text=[percent(value) if shares else f"{value:.3g}" for value in values], cliponaxis=False,
            customdata=[one.logits[side] for one in effect.top],
            hovertemplate="%{text}, logit %{customdata:.3f}<extra></extra>",
        )  # fmt: skip
    most = max((max(one.probabilities) for one in effect.top), default=1.0)
    figure.update_xaxes(fixedrange=True)
    if shares:
        figure.update_xaxes(range=[0, min(115, 125 * most)], **PERCENT_AXIS)
    figure.update_yaxes(
        tickvals=places, ticktext=names, autorange="reversed", automargin=True, showgrid=False, fixedrange=True
    )
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "normal"}
    return figure.update_layout(
        height=90 + 46 * len(names), margin={"l": 8, "r": 8, "t": 8, "b": 8}, bargap=0.3, bargroupgap=0.05,
        legend=legend,
    )  # fmt: skip


def measured_figure(table: Float[np.ndarray, "layer head"], unit: str, signed: bool = True) -> go.Figure:
    """Layers from left to right, heads from top to bottom; signed values in diverging colours, 0 in the middle."""
    most = max(float(np.abs(table).max()), SMALL)
    scale = SCALE if signed else "Viridis"
    depth, heads = table.shape
    heat = go.Heatmap(
        z=table.T, x=[str(layer) for layer in range(depth)], y=[str(head) for head in range(heads)], colorscale=scale,
        zmin=-most if signed else 0, zmax=most, xgap=1, ygap=1, colorbar={"title": unit, "thickness": 10},
        hovertemplate=f"layer %{{x}} · head %{{y}}<br>%{{z:{'+' if signed else ''}.3f}} {unit}<extra></extra>",
    )  # fmt: skip
    figure = go.Figure(heat)
    figure.update_xaxes(title="Layer", type="category", showgrid=False, fixedrange=True)
    figure.update_yaxes(title="Head", type="category", autorange="reversed", showgrid=False, fixedrange=True)
    return figure.update_layout(height=110 + 26 * max(4, heads), margin={"l": 8, "r": 8, "t": 8, "b": 8})
