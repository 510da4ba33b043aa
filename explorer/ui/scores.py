"""What the Fine-tune and Evaluate pages both show of a classifier: its scores, its confusion, its classes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from explorer.ui.widgets import PLAIN
from explorer.words import chart_text, percent

Cell = tuple[str, str]  # actual and predicted class of a confusion matrix
SCORES = {"accuracy": "Accuracy", "f1_macro": "F1, macro", "f1_weighted": "F1, weighted"}
MATRIX = 60  # classes up to which there is a matrix
WRITTEN = 25  # classes up to which the counts are written into the confusion matrix
LONGEST = 28  # letters of a class's name beside the confusion matrix
INK = {"light": "#1f1b18", "dark": "#ffffff"}
CELL = "rgba(224, 110, 50, {})"  # on a transparent ground, so that it suits light and dark


def show_scores(metrics: Mapping[str, Any]) -> None:
    """Accuracy and both F1 scores with their 95 % intervals and, where there is a baseline, the change from it."""
    before = metrics.get("baseline")
    with st.container(horizontal=True):
        for key, title in SCORES.items():
            low, high = metrics["intervals"][key]
            change = f"{100 * (metrics[key] - before[key]):+.1f} points" if before else None
            st.metric(f"{title} ({percent(low)} to {percent(high)})", percent(metrics[key]), change, border=True)
    st.caption(f"On {total(metrics):,} images; in brackets 95 % intervals.")


def total(metrics: Mapping[str, Any]) -> int:
    """How many images the metrics are about."""
    return int(np.sum(metrics["confusion_matrix"]))


def classes_present(metrics: Mapping[str, Any]) -> list[int]:
    """Indices of the classes that occur, as truth or as prediction."""
    counts = np.array(metrics["confusion_matrix"])
    return [int(index) for index in np.flatnonzero(counts.sum(0) + counts.sum(1))]


def show_confusion(metrics: Mapping[str, Any], key: str, width: int | Literal["stretch"] = "stretch") -> None:
    """The confusion matrix; of more classes than it has room for, the pairs that were confused most."""
    if len(classes_present(metrics)) <= MATRIX:
        st.plotly_chart(confusion_figure(metrics), key=key, config=PLAIN, width=width, alt="Confusion matrix")
        return
    st.markdown("**Confused most**")
    st.dataframe(most_confused(metrics), hide_index=True, width=width, key=key, alt="Classes confused most")


def pick_confusion(metrics: Mapping[str, Any], key: str, picked: Cell, on_pick: Callable[[Cell], None]) -> None:
    """The same to click: on_pick gets the cell that was hit; `picked` is framed, "" in it stands for all classes."""
    names = [metrics["class_names"][index] for index in classes_present(metrics)]
    rows = most_confused(metrics) if len(names) > MATRIX else []

    def take() -> None:
        selection = st.session_state[key]["selection"]
        if rows and selection["cells"]:
            row = rows[selection["cells"][0][0]]
            on_pick((row["Actual"], row["Predicted"]))
        elif not rows:
            # A second click on a cell takes the mark off it, but it is still the one that was clicked.
            cell = st.session_state.get(f"{key}_last")
            for point in selection["points"][:1]:
                actual, predicted = divmod(point["point_index"], len(names))
                cell = names[actual], names[predicted]
            if cell and set(cell) <= set(names):  # it may be of another model
                st.session_state[f"{key}_last"] = cell
                on_pick(cell)

    if rows:
        st.markdown("**Confused most**")
        st.dataframe(
            rows, hide_index=True, key=key, on_select=take, selection_mode="single-cell", alt="Classes confused most"
        )
        return
    st.plotly_chart(
        confusion_figure(metrics, picked), key=key, config=PLAIN, on_select=take, selection_mode="points",
        alt="Confusion matrix",
    )  # fmt: skip


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


def confusion_figure(metrics: Mapping[str, Any], picked: Cell = ("", "")) -> go.Figure:
    """The confusion matrix of the classes that occur: counts, coloured by their share of the actual class.

    metrics: a mapping with confusion_matrix (actual x predicted) and class_names, as metrics.json has. picked: a cell,
    row or column to frame.
    """
    shown = classes_present(metrics)
    counts = np.array(metrics["confusion_matrix"])[np.ix_(shown, shown)]
    names = [chart_text(metrics["class_names"][index]) for index in shown]
    short = [chart_text(metrics["class_names"][index], LONGEST) for index in shown]
    ticks = {"tickvals": names, "ticktext": short} if short != names else {}  # else Plotly leaves some out for room
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ink = axis_font()
    figure = go.Figure(
        go.Heatmap(
            z=shares, x=names, y=names, text=counts, zmin=0, zmax=1, showscale=False, xgap=2, ygap=2,
            colorscale=[[0, CELL.format(0.06)], [1, CELL.format(0.8)]],
            textfont=ink,  # Plotly's own choice of colour takes cells for opaque
            texttemplate="%{text}" if len(shown) <= WRITTEN else None, hoverinfo="skip",
        )
    )  # fmt: skip
    _add_cells(figure, names, counts, shares)
    _frame(figure, [metrics["class_names"][index] for index in shown], picked, ink["color"])
    figure.update_layout(
        height=min(150 + 44 * len(names), 620),
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        hovermode="closest",
        hoverdistance=-1,
        dragmode=False,
    )
    axis = {"tickfont": ink, "type": "category", "automargin": True, "showgrid": False, **ticks}
    figure.update_xaxes(title={"text": "predicted", "font": ink}, zeroline=False, **axis)
    figure.update_yaxes(title={"text": "actual", "font": ink}, autorange="reversed", **axis)
    return figure


def _add_cells(figure: go.Figure, names: Sequence[str], counts: np.ndarray, shares: np.ndarray) -> None:
    """A point in each cell: Plotly selects points, not cells, and the nearest is hit wherever the mouse is."""
    actual, predicted = np.indices(counts.shape).reshape(2, -1)
    figure.add_scatter(
        x=[names[index] for index in predicted], y=[names[index] for index in actual], mode="markers",
        marker={"size": 30, "symbol": "square", "opacity": 0}, showlegend=False,
        customdata=list(zip(counts.ravel().tolist(), map(percent, shares.ravel()), strict=True)),
        hovertemplate="%{customdata[0]} of %{y} predicted as %{x} (%{customdata[1]})<extra></extra>",
    )  # fmt: skip


def _frame(figure: go.Figure, names: Sequence[str], picked: Cell, colour: str) -> None:
    """A frame around the cell, the row or the column of the classes in `picked`."""
    actual, predicted = ([names.index(name)] if name in names else [] for name in picked)
    if not actual + predicted:
        return
    x, y = predicted or [0, len(names) - 1], actual or [0, len(names) - 1]
    sides = {"x0": x[0] - 0.5, "x1": x[-1] + 0.5, "y0": y[0] - 0.5, "y1": y[-1] + 0.5}
    figure.add_shape(type="rect", line={"color": colour, "width": 2.5}, **sides)


def axis_font() -> dict[str, Any]:
    """The font of an axis: Streamlit's own grey is faint on a light page."""
    return {"size": 13, "color": INK.get(st.context.theme.type or "light")}


def per_class_table(
    metrics: Mapping[str, Any], key: str | None = None, on_pick: Callable[[str], None] | None = None
) -> None:
    """Precision, recall, F1 and the number of images of each class that occurs; on_pick gets one that is clicked."""
    rows = [metrics["per_class"][index] for index in classes_present(metrics)]
    shares: dict[str, Any] = {"format": "%.1f %%"}

    def take() -> None:
        cells = st.session_state[key]["selection"]["cells"] if key else []
        if cells and on_pick:
            on_pick(rows[cells[0][0]]["class"])

    picking: dict[str, Any] = {"key": key, "on_select": take, "selection_mode": "single-cell"} if on_pick else {}
    st.dataframe(
        [{**row, **{key: 100 * row[key] for key in ("precision", "recall", "f1")}} for row in rows],
        hide_index=True,
        column_config={
            "class": st.column_config.TextColumn("Class"),
            "precision": st.column_config.NumberColumn(
                "Precision", help="Of the images predicted as this class, the share that belongs to it.", **shares
            ),
            "recall": st.column_config.NumberColumn(
                "Recall", help="Of the images of this class, the share that was found.", **shares
            ),
            "f1": st.column_config.NumberColumn("F1", **shares),
            "support": st.column_config.NumberColumn("Images", format="%d"),
        },
        alt="Scores of each class",
        **picking,
    )
