"""What the Evaluate page shows: scores where the truth is known, every prediction, and where the model looked."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from explorer.data.report import DatasetReport
from explorer.evaluation.html_report import html_report
from explorer.evaluation.predict import Evaluation
from explorer.evaluation.selective import Answered, RiskCoverage, answered_line, answers_at, risk_coverage
from explorer.models.backbone import Model
from explorer.training.checkpoints import read_seen
from explorer.ui.attention.share import site_button
from explorer.ui.attention_pictures import attention_picture, open_in_attention
from explorer.ui.changes import sha_of
from explorer.ui.datasets import show_left_out, show_passed_over, thumbnail
from explorer.ui.evaluate.data import Given, as_csv, checkpoints_with_classes
from explorer.ui.messages import check_link, plain, show_errors
from explorer.ui.mistakes import Photos, explore
from explorer.ui.scores import axis_font, show_scores
from explorer.ui.view_settings import default_layer
from explorer.ui.widgets import PLAIN
from explorer.words import PERCENT_AXIS, count_in_words, list_in_words, percent

NAMED = 6  # class names in the line about the model
FEW = 5  # files left out that are named at once
PICTURED = 300  # rows that are shown with a picture
ROW = 52  # pixels
UNSURE = "unsure_below"  # percent; in the address
LINE, DOT = "#4c8bf5", "#e8710a"  # readable on a light and on a dark page
LIKELIEST = 5  # classes of the chosen image


def answers_line(model: str, names: Sequence[str]) -> str:
    """ "pets answers only ants or bees, whatever the photo shows."; of many classes their number and the first few."""
    if len(names) <= NAMED:
        return f"{plain(model)} answers only {plain(list_in_words(names, 'or'))}, whatever the photo shows."
    some = ", ".join(names[: NAMED - 1])
    return f"{plain(model)} answers one of {len(names):,} classes, whatever the photo shows: {plain(some)} …"


def show_evaluation(model: Model, given: Given, evaluation: Evaluation, report: DatasetReport | None) -> None:
    """Everything the page has to say about one upload; report: what was found in a zip."""
    st.header(plain(given.title), anchor=False)
    for note in evaluation.notes:
        st.info(f"{plain(note)}{_better(report)}", icon=":material/folder_off:")
    for note in report.notes if report else ():
        st.info(plain(note))
    st.caption(counts_line(evaluation, report))
    seen = seen_line(model.source.source, evaluation, report)
    if seen:
        st.warning(seen, icon=":material/visibility:")
    if evaluation.metrics:
        show_scores(evaluation.metrics)
    if evaluation.rows:
        threshold = 0.0 if evaluation.found.outputs == "number" else _pick_unsure(evaluation)
        _downloads(model, given, evaluation, threshold, seen)
        _photos(model, given, evaluation, report, threshold)
    _left_out(evaluation, report)


def _pick_unsure(evaluation: Evaluation) -> float:
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
        at = answers_at(probability, percent / 100, right)
        st.markdown(answered_line(at, percent / 100))
    if right is not None:
        figure = risk_coverage_figure(risk_coverage(probability, right), at)
        chart.plotly_chart(figure, key="risk_coverage", config=PLAIN, alt="Wrong answers over answered photos")
    return percent / 100


def risk_coverage_figure(curve: RiskCoverage, at: Answered) -> go.Figure:
    """The share of wrong answers over the share of photos that get one, and where the slider stands."""
    hover = "below %{customdata:.0f} % unsure: %{x:.0f} % answered, %{y:.1f} % wrong<extra></extra>"
    figure = go.Figure(
        go.Scatter(
            x=100 * curve.coverage, y=100 * curve.risk, customdata=100 * curve.threshold, mode="lines+markers",
            line={"color": LINE, "width": 2}, marker={"size": 4}, hovertemplate=hover,
        )
    )  # fmt: skip
    if at.risk is not None:
        marker = {"size": 13, "color": DOT}
        figure.add_scatter(x=[100 * at.coverage], y=[100 * at.risk], mode="markers", marker=marker, hoverinfo="skip")
    axis = {**PERCENT_AXIS, "tickfont": axis_font(), "title_font": axis_font(), "fixedrange": True}
    figure.update_xaxes(title="photos that get an answer", range=[0, 103], **axis)
    figure.update_yaxes(title="wrong answers", rangemode="tozero", **axis)
    figure.update_layout(
        height=240, margin={"l": 10, "r": 10, "t": 10, "b": 10}, showlegend=False, dragmode=False
    )  # fmt: skip
    return figure


def _downloads(model: Model, given: Given, evaluation: Evaluation, threshold: float, seen: str) -> None:
    with st.container(horizontal=True):
        st.download_button(
            "Report", lambda: html_report(evaluation, model.name, given.title, threshold, [seen] if seen else []),
            "report.html", "text/html", on_click="ignore", icon=":material/download:",
            help="Scores, confusion, classes and mistakes with their photos, in one HTML file.",
        )  # fmt: skip
        st.download_button(
            "predictions.csv", lambda: as_csv(evaluation), "predictions.csv", "text/csv", on_click="ignore",
            icon=":material/download:", help="Every image with the probabilities of all classes.",
        )  # fmt: skip
        site_button(lambda: model, Path(model.name).stem, "evaluate_site", threshold or None)


def _photos(model: Model, given: Given, evaluation: Evaluation, report: DatasetReport | None, threshold: float) -> None:
    """Those of known classes behind the numbers, the others as a table."""
    scored = [row for row in evaluation.rows if row.get("actual")] if evaluation.metrics else []
    if scored and evaluation.metrics and report and given.zip:
        data = given.zip[1] if len(report.class_names) > 1 else None
        folders = {item.name: report.folder(item) for item in report.items}
        key = f"evaluate_{given.name}"
        explore(Photos(scored, evaluation.metrics, model, key, None, None, data, report.class_names, folders))
    rows = evaluation.rows[len(scored) :]
    if not rows:
        return
    st.header("Predictions", anchor=False)
    table, chosen = st.columns([3, 2], gap="large")
    with table:
        row = _table(given, rows, evaluation.found.outputs == "number", threshold)
    with chosen, show_errors():
        _one_image(model, evaluation, row, threshold)


def _better(report: DatasetReport | None) -> str:
    """Which checkpoints know all classes of the zip, as a sentence; "" where none does."""
    titles = checkpoints_with_classes(report.class_names) if report else []
    if not titles:
        return ""
    return f" To score them, pick {' or '.join(f'**{plain(title)}**' for title in titles[:FEW])} in the sidebar."


def counts_line(evaluation: Evaluation, report: DatasetReport | None) -> str:
    """ "Evaluated: 118 images, 100 of them scored; 2 left out." and which side of a zip with two that is."""
    done, left_out = len(evaluation.rows), len(evaluation.found.rejected) + (len(report.rejected) if report else 0)
    line = f"Evaluated: {count_in_words(done, 'image')}"
    if report and (scored := len(evaluation.actual)) < done:
        line += f", {scored:,} of them scored" if scored else ", none of them scored"
    line += f"; {left_out:,} left out." if left_out else "."
    if report and done < len(report.items):
        line += (
            " The zip has train and validation folders: only the validation side counts, "
            f"{done:,} of {len(report.items):,} images."
        )
    return line


def seen_line(source: str, evaluation: Evaluation, report: DatasetReport | None) -> str:
    """A sentence about images that the model of that source was trained or validated on; "" where there is none."""
    known = {item.name: item.sha for item in report.items} if report else {}
    return read_seen(source).warning([known.get(row["name"]) or sha_of(row["image"]) for row in evaluation.rows])


def _left_out(evaluation: Evaluation, report: DatasetReport | None) -> None:
    left_out = list(evaluation.found.rejected.items())
    if report:
        show_passed_over(report)
        left_out += [(entry.name, entry.reason) for entry in report.rejected]
    if left_out:
        show_left_out(left_out, expanded=len(left_out) <= FEW)


def _table(given: Given, rows: Sequence[dict[str, Any]], number: bool, threshold: float) -> dict[str, Any]:
    """Predictions of photos whose class no one knows; returns the row that is chosen, at first the first one."""
    cells = [
        {
            "picture": thumbnail(row["image"], 96) if place < PICTURED else None,
            "Image": row["name"].rsplit("/", 1)[-1],
            **({"Number": row["probability"]} if number else _likeliest(row, threshold)),
        }
        for place, row in enumerate(rows)
    ]
    columns = {
        "picture": st.column_config.ImageColumn("", width=56),
        "Image": st.column_config.TextColumn(width=170),
        "Predicted": st.column_config.TextColumn(width=170),
        "Probability": st.column_config.NumberColumn(width=82, format="%.1f %%"),
        "Number": st.column_config.NumberColumn(width=105, format="%.4f"),
    }
    picked = st.dataframe(
        cells, hide_index=True, row_height=ROW, column_config=columns, height=min(38 + ROW * len(rows), 560),
        on_select="rerun", selection_mode="single-row-required", key=f"predictions_{hash(given)}", alt="Predictions",
    )  # fmt: skip
    chosen = picked["selection"]["rows"]
    return rows[chosen[0] if chosen and chosen[0] < len(rows) else 0]


def _likeliest(row: dict[str, Any], threshold: float) -> dict[str, Any]:
    unsure = row["probability"] < threshold
    name = f"unsure ({row['predicted']})" if unsure else row["predicted"]
    return {"Predicted": name, "Probability": 100 * row["probability"]}


def _one_image(model: Model, evaluation: Evaluation, row: dict[str, Any], threshold: float) -> None:
    """The chosen image with its attention, its likeliest classes, and the way to the Attention page."""
    name = row["name"].rsplit("/", 1)[-1]
    caption = f"{plain(name)}: attention in layer {default_layer(model)}, mean of heads"
    st.image(attention_picture(model, row["image"]), caption=caption, width="stretch")
    top = evaluation.found.top(evaluation.found.images.index(row["name"]), LIKELIEST)
    if evaluation.found.outputs != "number":
        if row["probability"] < threshold:
            st.info(f"Unsure: the likeliest class has only {percent(row['probability'], 0)}.", icon=":material/help:")
        _classes(top)
    if st.button("Open in Attention", icon=":material/my_location:", key="open_row"):
        open_in_attention(None, row["image"], name)


def _classes(top: list[tuple[str, float]]) -> None:
    """The likeliest classes of one image as bars."""
    st.dataframe(
        [{"Class": label, "Probability": 100 * probability} for label, probability in top],
        hide_index=True,
        column_config={
            "Probability": st.column_config.ProgressColumn(format="%.1f %%", min_value=0, max_value=100),
        },
        alt="Likeliest classes",
    )
