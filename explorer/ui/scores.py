"""What the Fine-tune and Evaluate pages both show of a classifier: its scores, its confusion, its classes."""

from collections.abc import Mapping
from html import escape
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from explorer.ui.widgets import PLAIN

SCORES = {"accuracy": "Accuracy", "f1_macro": "F1, macro", "f1_weighted": "F1, weighted"}
MATRIX = 60  # classes up to which there is a matrix
WRITTEN = 25  # classes up to which the counts are written into the confusion matrix
INK = {"light": "#1f1b18", "dark": "#ffffff"}
CELL = "rgba(224, 110, 50, {})"  # on a transparent ground, so that it suits light and dark


def show_scores(metrics: Mapping[str, Any]) -> None:
    """Accuracy and both F1 scores with their 95 % intervals and, where there is a baseline, the change from it."""
    before = metrics.get("baseline")
    with st.container(horizontal=True):
        for key, title in SCORES.items():
            low, high = metrics["intervals"][key]
            change = f"{100 * (metrics[key] - before[key]):+.1f} points" if before else None
            st.metric(f"{title} ({low:.1%} to {high:.1%})", f"{metrics[key]:.1%}", change, border=True)
    st.caption(f"On {total(metrics):,} images; in brackets 95% intervals.")


def total(metrics: Mapping[str, Any]) -> int:
    """How many images the metrics are about."""
    return int(np.sum(metrics["confusion_matrix"]))


def classes_present(metrics: Mapping[str, Any]) -> list[int]:
    """Indices of the classes that occur, as truth or as prediction."""
    counts = np.array(metrics["confusion_matrix"])
    return [int(index) for index in np.flatnonzero(counts.sum(0) + counts.sum(1))]


def show_confusion(
    metrics: Mapping[str, Any], key: str, title: str = "", width: int | Literal["stretch"] = "stretch"
) -> None:
    """The confusion matrix; of more classes than it has room for, the pairs that were confused most."""
    if len(classes_present(metrics)) <= MATRIX:
        figure = confusion_figure(metrics, title)
        st.plotly_chart(figure, key=key, config=PLAIN, width=width, alt=title or "Confusion matrix")
        return
    st.markdown(f"**{title or 'Confused most'}**")
    st.dataframe(most_confused(metrics), hide_index=True, width=width, key=key, alt="Classes confused most")


def most_confused(metrics: Mapping[str, Any], count: int = 100) -> list[dict[str, Any]]:
    """Rows {Actual, Predicted, Images} of the wrong predictions, the most frequent first."""
    counts, names = np.array(metrics["confusion_matrix"]), metrics["class_names"]
    np.fill_diagonal(counts, 0)
    actual, predicted = np.nonzero(counts)
    order = np.argsort(-counts[actual, predicted], kind="stable")[:count]
    return [
        {"Actual": names[actual[i]], "Predicted": names[predicted[i]], "Images": int(counts[actual[i], predicted[i]])}
        for i in order
    ]


def confusion_figure(metrics: Mapping[str, Any], title: str = "") -> go.Figure:
    """The confusion matrix of the classes that occur: counts, coloured by their share of the actual class.

    metrics: a mapping with confusion_matrix (actual x predicted) and class_names, as metrics.json has.
    """
    shown = classes_present(metrics)
    counts = np.array(metrics["confusion_matrix"])[np.ix_(shown, shown)]
    names = [escape(metrics["class_names"][index]) for index in shown]  # Plotly would take <b> for bold
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ink = axis_font()
    figure = go.Figure(
        go.Heatmap(
            z=shares, x=names, y=names, text=counts, customdata=counts, zmin=0, zmax=1, showscale=False, xgap=2, ygap=2,
            colorscale=[[0, CELL.format(0.06)], [1, CELL.format(0.8)]],
            textfont=ink,  # Plotly's own choice of colour takes cells for opaque
            texttemplate="%{text}" if len(shown) <= WRITTEN else None,
            hovertemplate="%{customdata} of %{y} predicted as %{x} (%{z:.1%})<extra></extra>",
        )
    )  # fmt: skip
    figure.update_layout(
        title={"text": title, "font": {"size": 15}} if title else None,
        height=min(150 + 44 * len(names), 620),
        margin={"l": 10, "r": 10, "t": 44 if title else 10, "b": 10},
    )
    figure.update_xaxes(
        title={"text": "predicted", "font": ink},
        tickfont=ink,
        type="category",
        automargin=True,
        showgrid=False,
        zeroline=False,
    )
    figure.update_yaxes(
        title={"text": "actual", "font": ink},
        tickfont=ink,
        type="category",
        autorange="reversed",
        automargin=True,
        showgrid=False,
    )
    return figure


def axis_font() -> dict[str, Any]:
    """The font of an axis: Streamlit's own grey is faint on a light page."""
    return {"size": 13, "color": INK.get(st.context.theme.type or "light")}


def per_class_table(metrics: Mapping[str, Any]) -> None:
    """Precision, recall, F1 and the number of images of each class that occurs."""
    rows = [metrics["per_class"][index] for index in classes_present(metrics)]
    percent: dict[str, Any] = {"format": "%.1f%%"}
    st.dataframe(
        [{**row, **{key: 100 * row[key] for key in ("precision", "recall", "f1")}} for row in rows],
        hide_index=True,
        column_config={
            "class": st.column_config.TextColumn("Class"),
            "precision": st.column_config.NumberColumn("Precision", help="Right among those called so.", **percent),
            "recall": st.column_config.NumberColumn("Recall", help="Found among those that are.", **percent),
            "f1": st.column_config.NumberColumn("F1", **percent),
            "support": st.column_config.NumberColumn("Images", format="%d"),
        },
        alt="Scores of each class",
    )
