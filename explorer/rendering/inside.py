"""Plotly figures of one token's way through a layer: shares that add up to 100 %, and how long its parts are."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from explorer.words import PERCENT_AXIS, percent

BAR = 24  # pixels a bar takes
COLOUR, REST = "#ea580c", "#a8a29e"
MARGIN = {"l": 8, "r": 48, "t": 8, "b": 8}


def largest(shares: Float[np.ndarray, " key"], count: int) -> list[int]:
    """The indices of the `count` largest, the largest first."""
    return np.argsort(-shares, kind="stable")[:count].tolist()


def share_figure(shares: Float[np.ndarray, " key"], names: Sequence[str], count: int = 10) -> go.Figure:
    """The `count` largest shares as bars, and all others in one more: together 100 %."""
    first = largest(shares, count)
    labels, values = [names[index] for index in first], [float(shares[index]) for index in first]
    if len(shares) > count:
        labels.append(f"all {len(shares) - count} others")
        values.append(float(shares.sum()) - sum(values))
    colours = [COLOUR] * len(first) + [REST] * (len(labels) - len(first))
    texts = [percent(value) for value in values]
    return _bars(labels, [100 * value for value in values], texts, colours, "share").update_xaxes(**PERCENT_AXIS)


def length_figure(lengths: dict[str, float]) -> go.Figure:
    """Lengths of vectors as bars, in the order given."""
    values = list(lengths.values())
    return _bars(list(lengths), values, [f"{value:.3g}" for value in values], [COLOUR] * len(values), "length")


def _bars(labels: list[str], values: list[float], texts: list[str], colours: list[str], title: str) -> go.Figure:
    places = list(range(len(labels)))  # two tokens may have one name
    bars = go.Bar(
        x=values, y=places, orientation="h", text=texts, textposition="outside", cliponaxis=False,
        marker={"color": colours}, customdata=labels, hovertemplate="%{customdata}: %{text}<extra></extra>",
    )  # fmt: skip
    figure = go.Figure(bars)
    figure.update_yaxes(tickvals=places, ticktext=labels, autorange="reversed", fixedrange=True, automargin=True)
    figure.update_xaxes(title=title, rangemode="tozero", fixedrange=True)
    return figure.update_layout(height=BAR * len(labels) + 70, margin=MARGIN, showlegend=False, bargap=0.25)
