"""Step Result of the Fine-tune page: how good the model became, where it errs, and how its attention changed."""

import random
from pathlib import Path
from typing import Any

import streamlit as st

from explorer.errors import ExplorerError, ImageError
from explorer.models import registry
from explorer.training.folder import State, read_json
from explorer.training.jobs import Run
from explorer.training.plan import Plan
from explorer.ui.attention_pictures import attention_picture, open_in_attention, plain_picture
from explorer.ui.finetune_charts import confusion_figure, per_class_table, show_scores
from explorer.ui.finetune_files import downloads
from explorer.ui.messages import plain, sentence_of, show_errors

SHOWN = 6  # pictures in a row
COMPARED = 3  # photos whose attention is shown before and after
LAST = -1  # layer: the one that training changes first


def show_result(run: Run) -> None:
    """Numbers, tables and pictures of a run that ended with a checkpoint."""
    if run.metrics is None or run.options is None or run.plan is None or not run.state.checkpoint:
        st.caption("Nothing yet: it comes when this run ends or is stopped after its first epoch.")
        return
    key = model_key(Path(run.state.checkpoint))
    st.markdown(_which_weights(run.metrics["best_epoch"], run.state))
    _buttons(run, key)
    show_scores(run.metrics)
    left, right = st.columns(2, gap="medium")
    bar = {"displayModeBar": False}
    before, after = confusion_figure(run.metrics["baseline"], "Before training"), confusion_figure(run.metrics, "After")
    left.plotly_chart(before, key=f"before_{run.name}", config=bar, alt="Confusion matrix before training")
    right.plotly_chart(after, key=f"after_{run.name}", config=bar, alt="Confusion matrix after training")
    per_class_table(run.metrics)
    with show_errors():
        rows = read_json(run.folder.predictions)
        _predictions(rows, key, run.plan)
        _attention_change(run.options.model, key, rows, run.plan)


def _which_weights(best: int, state: State) -> str:
    if best == 0:
        return "Stopped in the first epoch: these are the weights up to there."
    return f"Weights of epoch **{best}** of {state.epoch}, the one with the lowest validation loss."


def model_key(checkpoint: Path) -> str:
    """What the sidebar calls the checkpoint, its path where it isn't among the models on offer."""
    key = f"checkpoints/{checkpoint.name}"
    return key if registry.resolve(key).resolve() == checkpoint.resolve() else str(checkpoint)


def _buttons(run: Run, key: str) -> None:
    with st.container(horizontal=True):
        if key.startswith("checkpoints/") and st.button(
            "Open in Attention", type="primary", icon=":material/my_location:", key=f"open_{run.name}"
        ):
            open_in_attention(key)
        downloads(run, key)


def _predictions(rows: list[dict[str, Any]], key: str, plan: Plan) -> None:
    st.subheader("Sample predictions", anchor=False)
    samples = random.Random(0).sample(rows, min(SHOWN, len(rows)))
    for column, row in zip(st.columns(SHOWN), samples, strict=False):
        with column:
            _card(row, None, plan)
    st.subheader("Worst mistakes", anchor=False)
    mistakes = [row for row in rows if row["actual"] != row["predicted"]][:SHOWN]
    if not mistakes:
        st.success("None: every validation image was told rightly.")
        return
    st.caption("The highest losses, with the new model's attention three quarters up (mean of heads).")
    for column, row in zip(st.columns(SHOWN), mistakes, strict=False):
        with column:
            _card(row, key, plan)


def _card(row: dict[str, Any], key: str | None, plan: Plan) -> None:
    """One validation image, with a model's attention where its key is given, and what was predicted."""
    right = row["actual"] == row["predicted"]
    with st.container(gap="xxsmall"):
        try:
            st.image(attention_picture(key, row["image"], plan.image_size) if key else plain_picture(row["image"]))
        except ExplorerError as error:
            st.caption(sentence_of(error))
        mark = ":green[:material/check:]" if right else ":red[:material/close:]"
        st.markdown(f"{mark} **{plain(row['predicted'])}** {row['probability']:.0%}")
        if not right:
            st.caption(f"is {plain(row['actual'])}")
        if key and key.startswith("checkpoints/"):
            _open_button(row, key)


def _open_button(row: dict[str, Any], key: str) -> None:
    if st.button("Open", icon=":material/my_location:", type="tertiary", key=f"mistake_{row['name']}"):
        try:
            open_in_attention(key, row["image"], row["name"].rsplit("/", 1)[-1])
        except ImageError as error:
            st.caption(sentence_of(error))


def _attention_change(base: str, key: str, rows: list[dict[str, Any]], plan: Plan) -> None:
    st.subheader("Attention before and after", anchor=False)
    if plan.train == "head":
        st.caption("Only the head was trained, so the attention can't change: both pictures are the same.")
    else:
        st.caption("The last layer's attention from the class token, mean of heads, on the same photos.")
    chosen = random.Random(1).sample(rows, min(COMPARED, len(rows)))
    for column, row in zip(st.columns(COMPARED, gap="large"), chosen, strict=False):
        try:
            for place, title, source in zip(column.columns(2), ("Before", "After"), (base, key), strict=True):
                place.image(attention_picture(source, row["image"], plan.image_size, LAST), caption=title)
        except ExplorerError as error:
            column.caption(sentence_of(error))
