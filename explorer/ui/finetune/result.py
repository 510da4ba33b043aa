"""Step Result of the Fine-tune page: how good the model became, where it errs, and how its attention changed."""

import random
from pathlib import Path
from typing import Any

import streamlit as st

from explorer.errors import TrainingError
from explorer.models import registry
from explorer.models.backbone import Model
from explorer.training.plan import Plan
from explorer.training.runs.folder import Options, State
from explorer.training.runs.jobs import Run
from explorer.ui import cached
from explorer.ui.attention_pictures import attention_picture, open_in_attention, plain_picture
from explorer.ui.datasets import data_title
from explorer.ui.finetune.downloads import downloads
from explorer.ui.finetune.runs import model_title, trained_words
from explorer.ui.messages import plain, show_errors
from explorer.ui.scores import per_class_table, show_confusion, show_scores
from explorer.ui.view_settings import default_layer

SHOWN = 6  # pictures of a kind
CELL, GAP = 142, 16  # pixels: the width of a picture, and between two of them
COMPARED = 3  # photos whose attention is shown before and after
LAST = -1  # layer: the one that training changes first


def show_result(run: Run) -> None:
    """Numbers, tables and pictures of a run that ended with a checkpoint."""
    if run.damage:
        raise TrainingError(run.damage)
    if run.metrics is None or run.options is None or run.plan is None or not run.state.checkpoint:
        st.caption("Nothing yet: it comes when this run ends or is stopped after its first epoch.")
        return
    key = model_key(Path(run.state.checkpoint))
    st.markdown(_which_weights(run.metrics["best_epoch"], run.state))
    there = Path(run.state.checkpoint).exists()
    if there:
        st.markdown(f"Saved as **{plain(key)}**: {plain(_origin(run.options, run.plan))}.")
    _buttons(run, key if there else None)
    show_scores(run.metrics)
    left, right = st.columns(2, gap="medium")
    with left:
        show_confusion(run.metrics["baseline"], f"before_{run.name}", "Confusion before training")
    with right:
        show_confusion(run.metrics, f"after_{run.name}", "Confusion after training")
    per_class_table(run.metrics)
    if there:
        _pictures(run, run.options, run.plan, key)
    else:
        st.info(f"The model {plain(key)} was deleted, so there is nothing to look with: only the numbers are left.")


def _pictures(run: Run, options: Options, plan: Plan, key: str) -> None:
    """What needs the trained model and the validation images."""
    with show_errors():
        predicted = run.predictions()
        rows = [row for row in predicted if Path(row["image"]).is_file()]
        if len(rows) < len(predicted):
            st.info(f"{len(predicted) - len(rows):,} of the {len(predicted):,} validation images are no longer there.")
        trained = cached.load_model(key)
        _predictions(rows, trained, plan.image_size)
        base = cached.load_model(options.model)
        _attention_change(base, trained, rows, plan)


def _which_weights(best: int, state: State) -> str:
    if best == 0:
        return "Stopped in the first epoch: these are the weights up to there."
    return f"Weights of epoch **{best}** of {state.epoch}, the one with the lowest validation loss."


def _origin(options: Options, plan: Plan) -> str:
    """ "Bundled ViT, last 2 blocks trained on pets.zip"."""
    return f"{model_title(options.model.source)}, {trained_words(plan.train)} trained on {data_title(options.data)}"


def model_key(checkpoint: Path) -> str:
    """What the sidebar calls the checkpoint, its path where it isn't among the models on offer."""
    key = f"checkpoints/{checkpoint.name}"
    return key if registry.resolve(key).resolve() == checkpoint.resolve() else str(checkpoint)


def _buttons(run: Run, key: str | None) -> None:
    with st.container(horizontal=True):
        if (
            key
            and key.startswith("checkpoints/")
            and st.button("Open in Attention", type="primary", icon=":material/my_location:", key=f"open_{run.name}")
        ):
            open_in_attention(key)
        downloads(run, key)


def _predictions(rows: list[dict[str, Any]], trained: Model, size: int | None) -> None:
    st.header("Sample predictions", anchor=False)
    samples = random.Random(0).sample(rows, min(SHOWN, len(rows)))
    for place, row in zip(_places(len(samples), CELL), samples, strict=True):
        with place, show_errors():
            st.image(plain_picture(row["image"]), alt=row["name"])
            _verdict(row)
    st.header("Worst mistakes", anchor=False)
    mistakes = [row for row in rows if row["actual"] != row["predicted"]][:SHOWN]
    if not mistakes:
        st.success("None: every validation image was classified correctly.")
        return
    st.caption(f"The highest losses, with the new model's attention in layer {default_layer(trained)}, mean of heads.")
    for place, row in zip(_places(len(mistakes), CELL), mistakes, strict=True):
        with place, show_errors():
            st.image(attention_picture(trained, row["image"], size), alt=f"{row['name']} with its attention")
            _verdict(row)
            if trained.source.source.startswith("checkpoints/") and st.button(
                "Open", icon=":material/my_location:", type="tertiary", key=f"mistake_{row['name']}"
            ):
                open_in_attention(trained.source.source, row["image"], row["name"], size)


def _places(count: int, width: int) -> list[Any]:
    """Places side by side, as many in a row as fit: six on a desk, two on a phone."""
    with st.container(horizontal=True):
        return [st.container(width=width, gap="small") for _ in range(count)]


def _verdict(row: dict[str, Any]) -> None:
    """What was predicted, and what it is where that was wrong."""
    right = row["actual"] == row["predicted"]
    mark = ":green[:material/check:]" if right else ":red[:material/close:]"
    is_really = "" if right else f"  \nactual: {plain(row['actual'])}"
    st.markdown(f"{mark} **{plain(row['predicted'])}** {row['probability']:.0%}{is_really}")


def _attention_change(base: Model, trained: Model, rows: list[dict[str, Any]], plan: Plan) -> None:
    st.header("Attention before and after", anchor=False)
    if plan.train == "head":
        st.caption("Only the classifier was trained, so the attention can't change: both pictures are the same.")
    else:
        st.caption("The last layer's attention, mean of heads, on the same photos.")
    chosen = random.Random(1).sample(rows, min(COMPARED, len(rows)))
    for place, row in zip(_places(len(chosen), 2 * CELL + GAP), chosen, strict=True):
        with place, show_errors(), st.container(horizontal=True):
            for title, model in (("Before", base), ("After", trained)):
                picture = attention_picture(model, row["image"], plan.image_size, LAST)
                st.image(picture, caption=title, width=CELL)
