"""What the Evaluate page shows: scores where the truth is known, every prediction, and where the model looked."""

from typing import Any

import streamlit as st

from explorer.data.report import DatasetReport
from explorer.evaluation.predict import Evaluation
from explorer.models.backbone import Model
from explorer.ui.attention_pictures import attention_picture, open_in_attention
from explorer.ui.dataset_report import show_left_out, show_passed_over, thumbnail
from explorer.ui.evaluate.data import as_csv, knowing
from explorer.ui.evaluate.uploads import Given
from explorer.ui.messages import plain, show_errors
from explorer.ui.scores import per_class_table, show_confusion, show_scores
from explorer.ui.view_settings import default_layer

FEW = 5  # files left out that are named at once
PICTURED = 300  # rows that are shown with a picture
ROW = 52  # pixels
LIKELIEST = 5  # classes of the chosen image


def show_evaluation(model: Model, given: Given, evaluation: Evaluation, report: DatasetReport | None) -> None:
    """Everything the page has to say about one upload; report: what was found in a zip."""
    st.header(plain(given.title), anchor=False)
    for note in evaluation.notes:
        st.info(f"{plain(note)}{_better(report)}", icon=":material/folder_off:")
    for note in report.notes if report else ():
        st.info(plain(note))
    if evaluation.metrics:
        _side(evaluation, report)
        _scores(evaluation.metrics)
    _left_out(evaluation, report)
    if not evaluation.rows:
        return
    st.header("Predictions", anchor=False)
    table, chosen = st.columns([3, 2], gap="large")
    with table:
        row = _table(given, evaluation)
        st.download_button(
            "predictions.csv", lambda: as_csv(evaluation), "predictions.csv", "text/csv", on_click="ignore",
            icon=":material/download:", help="Every image with the probabilities of all classes.",
        )  # fmt: skip
    with chosen, show_errors():
        _one_image(model, evaluation, row)


def _better(report: DatasetReport | None) -> str:
    """Which checkpoints know all classes of the zip, as a sentence; "" where none does."""
    titles = knowing(report.class_names) if report else []
    if not titles:
        return ""
    return f" To score them, pick {' or '.join(f'**{plain(title)}**' for title in titles[:FEW])} in the sidebar."


def _side(evaluation: Evaluation, report: DatasetReport | None) -> None:
    if report and len(evaluation.rows) < len(report.items):
        st.caption(
            f"The zip has train and validation folders: only the validation side counts, {len(evaluation.rows):,} of "
            f"{len(report.items):,} images."
        )


def _scores(metrics: dict[str, Any]) -> None:
    show_scores(metrics)
    left, right = st.columns(2, gap="large", vertical_alignment="center")
    with left:
        show_confusion(metrics, "confusion")
    with right:
        per_class_table(metrics)


def _left_out(evaluation: Evaluation, report: DatasetReport | None) -> None:
    left_out = list(evaluation.found.rejected.items())
    if report:
        show_passed_over(report)
        left_out += [(entry.name, entry.reason) for entry in report.rejected]
    if left_out:
        show_left_out(left_out, expanded=len(left_out) <= FEW)


def _table(given: Given, evaluation: Evaluation) -> dict[str, Any]:
    """All predictions; returns the row that is chosen, at first the first one."""
    known = {"Actual": "actual"} if evaluation.metrics else {}
    number = evaluation.found.outputs == "number"
    rows = [
        {
            "picture": thumbnail(row["image"], 96) if place < PICTURED else None,
            "Image": row["name"].rsplit("/", 1)[-1],
            **{title: row[key] for title, key in known.items()},
            **({"Number": row["probability"]} if number else _likeliest(row)),
        }
        for place, row in enumerate(evaluation.rows)
    ]
    columns = {
        "picture": st.column_config.ImageColumn("", width=56),
        "Image": st.column_config.TextColumn(width=130),
        "Actual": st.column_config.TextColumn(width=100),
        "Predicted": st.column_config.TextColumn(width=105),
        "Probability": st.column_config.NumberColumn(width=82, format="%.1f%%"),
        "Number": st.column_config.NumberColumn(width=105, format="%.4f"),
    }
    picked = st.dataframe(
        rows, hide_index=True, row_height=ROW, column_config=columns, height=min(38 + ROW * len(rows), 560),
        on_select="rerun", selection_mode="single-row-required", key=f"predictions_{hash(given)}", alt="Predictions",
    )  # fmt: skip
    chosen = picked["selection"]["rows"]
    return evaluation.rows[chosen[0] if chosen and chosen[0] < len(evaluation.rows) else 0]


def _likeliest(row: dict[str, Any]) -> dict[str, Any]:
    return {"Predicted": row["predicted"], "Probability": 100 * row["probability"]}


def _one_image(model: Model, evaluation: Evaluation, row: dict[str, Any]) -> None:
    """The chosen image with its attention, its likeliest classes, and the way to the Attention page."""
    name = row["name"].rsplit("/", 1)[-1]
    caption = f"{plain(name)}: attention in layer {default_layer(model)}, mean of heads"
    st.image(attention_picture(model, row["image"]), caption=caption, width="stretch")
    top = evaluation.found.top(evaluation.found.images.index(row["name"]), LIKELIEST)
    if evaluation.found.outputs != "number":
        _classes(top)
    if st.button("Open in Attention", icon=":material/my_location:", key="open_row"):
        open_in_attention(None, row["image"], name)


def _classes(top: list[tuple[str, float]]) -> None:
    """The likeliest classes of one image as bars."""
    st.dataframe(
        [{"Class": label, "Probability": 100 * probability} for label, probability in top],
        hide_index=True,
        column_config={
            "Probability": st.column_config.ProgressColumn(format="%.1f%%", min_value=0, max_value=100),
        },
        alt="Likeliest classes",
    )
