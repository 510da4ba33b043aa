"""The two charts of a run, loss and accuracy/F1, as Plotly figures, and the files a finished run keeps."""

import csv
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from explorer.words import PERCENT_AXIS, chart_text

TRAIN, VAL = "#4c8bf5", "#e8710a"  # readable on a light and on a dark page
CONFIG = {"displaylogo": False, "showSendToCloud": False}  # the toolbar would offer to upload the chart
COMPARED = {
    "val_loss": "validation loss",
    "val_accuracy": "validation accuracy",
    "val_f1_macro": "validation F1, macro",
}


def loss_figure(events: Sequence[Mapping[str, Any]], baseline: Mapping[str, Any] | None = None) -> go.Figure:
    """Loss of every step (at its place within the epochs), and of every epoch for train and validation, in nats."""
    steps = [event for event in events if event["type"] == "step"]
    epochs = [event for event in events if event["type"] == "epoch"]
    start = next((event for event in events if event["type"] == "start"), None)
    per_epoch = start["steps_an_epoch"] if start else max((step["step"] for step in steps), default=1)
    figure = _figure("loss")
    if steps:
        x, y = [step["step"] / per_epoch for step in steps], [step["loss"] for step in steps]
        figure.add_scatter(
            x=x, y=y, name="train, each step", mode="lines", line={"color": TRAIN, "width": 1}, opacity=0.55
        )
    _add(figure, epochs, "train_loss", "train", TRAIN)
    _add(figure, epochs, "val_loss", "validation", VAL, start=baseline and baseline["loss"])
    return figure


def score_figure(events: Sequence[Mapping[str, Any]], baseline: Mapping[str, Any] | None = None) -> go.Figure:
    """Accuracy and macro F1 of every epoch, train and validation."""
    epochs = [event for event in events if event["type"] == "epoch"]
    figure = _figure("accuracy and F1", percent=True)
    _add(figure, epochs, "train_accuracy", "accuracy, train", TRAIN)
    _add(figure, epochs, "val_accuracy", "accuracy, validation", VAL, start=baseline and baseline["accuracy"])
    _add(figure, epochs, "train_f1_macro", "F1 macro, train", TRAIN, dash="dot")
    _add(
        figure, epochs, "val_f1_macro", "F1 macro, validation", VAL, dash="dot", start=baseline and baseline["f1_macro"]
    )
    return figure


def compare_figure(runs: Mapping[str, Sequence[Mapping[str, Any]]], key: str = "val_loss") -> go.Figure:
    """One line per run of an epoch value, a key of COMPARED, over epochs."""
    figure = _figure(COMPARED[key], percent=key != "val_loss")
    longest = 1
    for name, events in runs.items():
        epochs = [event for event in events if event["type"] == "epoch"]
        x, y = [event["epoch"] for event in epochs], _drawn(key, [event[key] for event in epochs])
        longest = max(longest, *x, 1)
        figure.add_scatter(x=x, y=y, name=chart_text(name), mode=_mode(x))
    return figure.update_xaxes(dtick=-(-longest // 10))  # whole epochs alone, ten at most


def write_csv(path: Path, epochs: Sequence[Mapping[str, Any]]) -> None:
    """epochs.csv: one row per epoch, the keys of the epoch events as columns."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(epochs[0]) if epochs else ["epoch"])
        writer.writeheader()
        writer.writerows(epochs)


def write_html(path: Path, title: str, events: Sequence[Mapping[str, Any]], baseline: Mapping[str, Any]) -> None:
    """curves.html: both charts in one page that needs no network."""
    figures = (loss_figure(events, baseline), score_figure(events, baseline))
    parts = [
        figure.to_html(full_html=False, include_plotlyjs="inline" if i == 0 else False, config=CONFIG)
        for i, figure in enumerate(figures)
    ]
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
    path.write_text(f"{head}<body>{''.join(parts)}</body></html>", encoding="utf-8")


def _figure(title: str, percent: bool = False) -> go.Figure:
    legend = {"orientation": "h", "x": 0, "y": -0.22, "yanchor": "top"}  # above it would lie under Plotly's toolbar
    epochs = {"title": {"text": "epoch", "standoff": 4}}
    layout = {"xaxis": epochs, "yaxis_title": title, "legend": legend, "uirevision": "run"}
    figure = go.Figure(layout={**layout, "margin": {"l": 50, "r": 10, "t": 36, "b": 40}})
    return figure.update_yaxes(**PERCENT_AXIS) if percent else figure


def _drawn(key: str, values: Sequence[float]) -> list[float]:
    """A loss as it is, shares in percent."""
    return list(values) if key.endswith("loss") else [100 * value for value in values]


def _add(figure: go.Figure, epochs, key: str, name: str, colour: str, dash: str = "solid", start=None) -> None:
    x, y = [event["epoch"] for event in epochs], [event[key] for event in epochs]
    if start is not None:
        x, y = [0, *x], [start, *y]
    if x:
        figure.add_scatter(x=x, y=_drawn(key, y), name=name, mode=_mode(x), line={"color": colour, "dash": dash})


def _mode(x: Sequence[float]) -> str:
    """With many points the marks would hide the line."""
    return "lines+markers" if len(x) < 40 else "lines"
