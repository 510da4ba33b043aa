"""What the Evaluate page shows: scores where the truth is known, every prediction, and where the model looked."""

import hashlib
from pathlib import Path
from typing import Any

import streamlit as st

from explorer.data.report import DatasetReport
from explorer.evaluation.predict import Evaluation
from explorer.models.backbone import Model
from explorer.training.seen import read_seen
from explorer.ui.attention_pictures import attention_picture, open_in_attention
from explorer.ui.dataset_report import show_left_out, show_passed_over, thumbnail
from explorer.ui.evaluate.data import as_csv, checkpoints_with_classes
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
    st.caption(counts_line(evaluation, report))
    seen = seen_line(model.source, evaluation, report)
    if seen:
        st.warning(seen, icon=":material/visibility:")
    if evaluation.metrics:
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
    titles = checkpoints_with_classes(report.class_names) if report else []
    if not titles:
        return ""
    return f" To score them, pick {' or '.join(f'**{plain(title)}**' for title in titles[:FEW])} in the sidebar."


def counts_line(evaluation: Evaluation, report: DatasetReport | None) -> str:
    """ "Evaluated: 118 images, 100 of them scored; 2 left out." and which side of a zip with two that is."""
    done, left_out = len(evaluation.rows), len(evaluation.found.rejected) + (len(report.rejected) if report else 0)
    line = f"Evaluated: {_images(done)}"
    if report and (scored := len(evaluation.actual)) < done:
        line += f", {scored:,} of them scored" if scored else ", none of them scored"
    line += f"; {left_out:,} left out." if left_out else "."
    if report and done < len(report.items):
        line += (
            " The zip has train and validation folders: only the validation side counts, "
            f"{done:,} of {len(report.items):,} images."
        )
    return line


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"


def seen_line(source: str, evaluation: Evaluation, report: DatasetReport | None) -> str:
    """A sentence about images that the model of that source was trained or validated on; "" where there is none."""
    known = {item.name: item.sha for item in report.items} if report else {}
    return read_seen(source).warning([known.get(row["name"]) or _sha(row["image"]) for row in evaluation.rows])


@st.cache_data(show_spinner=False, max_entries=5000)
def _sha(path: str) -> str:
    """sha256 of a file, hex; "" where it is gone."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return ""


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
