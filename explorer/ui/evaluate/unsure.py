"""A probability below which the model is to say "unsure": what that costs in answers, and saves in wrong ones."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from explorer.evaluation.predict import Evaluation
from explorer.evaluation.selective import Answered, RiskCoverage, answered, answered_line, risk_coverage
from explorer.ui.messages import check_link
from explorer.ui.scores import axis_font
from explorer.ui.widgets import PLAIN

UNSURE = "unsure_below"  # percent; in the address
LINE, DOT = "#4c8bf5", "#e8710a"  # readable on a light and on a dark page


def pick_unsure(evaluation: Evaluation) -> float:
    """The slider, with what is answered then; where classes are known, also how often that is wrong. From 0 to 1."""
    rows = [row for row in evaluation.rows if row["actual"]] if evaluation.metrics else evaluation.rows
    probability = np.array([row["probability"] for row in rows])
    right = np.array([row["actual"] == row["predicted"] for row in rows]) if evaluation.metrics else None
    slider, chart = st.columns([2, 3], gap="large", vertical_alignment="center")
    with slider:
        check_link(UNSURE, lambda text: text.isdecimal() and int(text) <= 100, "a whole number from 0 to 100")
        percent = st.slider(
            "Unsure below (%)", 0, 100, 0, key=UNSURE, bind="query-params", persist_state="session",
            help="Photos whose likeliest class has less than this count as unsure. Photos of something else often lie "
            "below, but not always.",
        )  # fmt: skip
        at = answered(probability, percent / 100, right)
        st.markdown(answered_line(at, percent / 100))
    if right is not None:
        figure = risk_coverage_figure(risk_coverage(probability, right), at)
        chart.plotly_chart(figure, key="risk_coverage", config=PLAIN, alt="Wrong answers over answered photos")
    return percent / 100


def risk_coverage_figure(curve: RiskCoverage, at: Answered) -> go.Figure:
    """The share of wrong answers over the share of photos that get one, and where the slider stands."""
    hover = "below %{customdata:.0%} unsure: %{x:.0%} answered, %{y:.1%} wrong<extra></extra>"
    figure = go.Figure(
        go.Scatter(
            x=curve.coverage, y=curve.risk, customdata=curve.threshold, mode="lines+markers",
            line={"color": LINE, "width": 2}, marker={"size": 4}, hovertemplate=hover,
        )
    )  # fmt: skip
    if at.risk is not None:
        marker = {"size": 13, "color": DOT}
        figure.add_scatter(x=[at.coverage], y=[at.risk], mode="markers", marker=marker, hoverinfo="skip")
    axis: dict[str, Any] = {"tickformat": ".0%", "tickfont": axis_font(), "title_font": axis_font(), "fixedrange": True}
    figure.update_xaxes(title="photos that get an answer", range=[0, 1.03], **axis)
    figure.update_yaxes(title="wrong answers", rangemode="tozero", **axis)
    figure.update_layout(
        height=240, margin={"l": 10, "r": 10, "t": 10, "b": 10}, showlegend=False, dragmode=False
    )  # fmt: skip
    return figure
