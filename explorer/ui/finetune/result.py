"""Step Result of the Fine-tune page: how good the model became, where it errs, and how its attention changed."""

import random
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import streamlit as st

from explorer.errors import CheckpointError, DiskError, TrainingError
from explorer.evaluation.metrics import wilson
from explorer.evaluation.paired import Gain
from explorer.files import whole_file
from explorer.models import registry
from explorer.models.backbone import Model
from explorer.models.onnx import export_onnx
from explorer.models.registry import resolve
from explorer.training.plan import Plan
from explorer.training.runs.folder import Options, State
from explorer.training.runs.jobs import Run
from explorer.training.runs.json_files import fits
from explorer.ui import cached
from explorer.ui.attention.share import site_button
from explorer.ui.attention_pictures import attention_picture, can_compare, open_in_attention, open_in_compare
from explorer.ui.datasets import data_title
from explorer.ui.finetune.runs import model_title, trained_words
from explorer.ui.finetune.train import NEIGHBOURS
from explorer.ui.messages import plain, show_errors
from explorer.ui.mistakes import Photos, explore
from explorer.ui.scores import SCORES, total
from explorer.visitors.quotas import hold_room
from explorer.words import count_in_words, percent, with_sign

CELL, GAP = 142, 16  # pixels: the width of a picture, and between two of them
COMPARED = 3  # photos whose attention is shown before and after
UNTRAINED = "A classifier with random weights on the model as it was: what guessing gives."
OVER_NEIGHBOURS = "The weights that were kept. The change is from the nearest neighbours, not from guessing."
FILES = {"epochs.csv": "text/csv", "curves.html": "text/html", "metrics.json": "application/json"}
WEIGHTS = "model.safetensors"
MODEL_FILES = "config.json", WEIGHTS, "README.md"
LAST = -1  # layer: the one that training changes first


def show_result(run: Run) -> None:
    """Numbers, photos and pictures of a run that ended with a checkpoint."""
    if run.damage:
        raise TrainingError(run.damage)
    if run.metrics is None or run.options is None or run.plan is None or not run.state.checkpoint:
        st.caption("No result yet: it appears when this run ends or is stopped after its first epoch.")
        return
    key = model_key(Path(run.state.checkpoint))
    there = Path(run.state.checkpoint).exists()
    if there:
        st.markdown(f"Saved as **{plain(key)}**: {plain(_origin(run.options, run.plan))}.")
    _buttons(run, key if there else None)
    show_gain(run.metrics, run.plan)
    st.caption(_which_weights(run.metrics["best_epoch"], run.state))
    if not there:
        st.info(f"The model {plain(key)} was deleted, so only its numbers are left.")
    _photos(run, run.options, run.plan, key if there else None)


def show_gain(metrics: Mapping[str, Any], plan: Plan) -> None:
    """Accuracy untrained, by neighbours and now, each with its interval, and whether the training was worth it."""
    images, baseline = total(metrics), metrics["baseline"]
    knn, gain = metrics["knn_accuracy"], gain_of(metrics)
    noise = gain is None or gain.within_noise
    rows = {
        "Untrained classifier": (baseline["accuracy"], baseline["intervals"]["accuracy"], None, UNTRAINED),
        "Nearest neighbours": (knn, wilson(round(knn * images), images), None, NEIGHBOURS),
        "Now": (metrics["accuracy"], metrics["intervals"]["accuracy"], metrics["accuracy"] - knn, OVER_NEIGHBOURS),
    }
    with st.container(horizontal=True):
        for title, (value, (low, high), change, help) in rows.items():
            delta = None if change is None else f"{100 * change:+.1f} points over neighbours"
            st.metric(
                f"{title} ({percent(low)} to {percent(high)})", percent(value), delta, "off" if noise else "normal",
                help=help, border=True, height="stretch",
            )  # fmt: skip
    others = " · ".join(
        f"{SCORES[key]} {percent(metrics[key])} ({percent(low)} to {percent(high)})"
        for key, (low, high) in metrics["intervals"].items()
        if key != "accuracy"
    )
    st.caption(f"Accuracy on {images:,} validation photos; in brackets 95 % intervals. {others}.")
    if gain:
        (st.success if gain.share > 0 and not gain.within_noise else st.info)(gain_sentence(gain, plan))


def gain_of(metrics: Mapping[str, Any]) -> Gain | None:
    """What was gained over the neighbours; None for a run from before that was kept."""
    found = metrics.get("over_neighbours")
    if found is None or not fits(found, {"won": int, "lost": int}) or min(found.values()) < 0:
        return None
    return Gain(total(metrics), found["won"], found["lost"])


def gain_sentence(gain: Gain, plan: Plan) -> str:
    """ "Training the last block ended 0.6 points above the nearest neighbours: within the noise of 153 photos …"."""
    trained = "the classifier" if plan.train == "head" else trained_words(plan.train)
    what = f"Training {'the ' if trained.startswith('last') else ''}{trained}"
    if not gain.won + gain.lost:
        return f"{what} changed nothing over the nearest neighbours: both have the same photos right."
    points = f"{100 * abs(gain.share):.1f} points"
    where = f"{points} above" if gain.share > 0 else f"{points} below" if gain.share < 0 else "level with"
    low, high = gain.interval
    noise = f"within the noise of {gain.images:,} photos" if gain.within_noise else "more than chance would give"
    return (
        f"{what} ended {where} the nearest neighbours: {noise} (95 % interval "
        f"{with_sign(100 * low, 1)} to {with_sign(100 * high, 1)}; p\u00a0=\u00a0{gain.chance:.2g}, McNemar's exact "
        f"test). {count_in_words(gain.won, 'photo')} right only after training, {gain.lost:,} only by neighbours."
    )


def _photos(run: Run, options: Options, plan: Plan, key: str | None) -> None:
    """Every validation photo behind the numbers, and how the attention changed; key: the model, if it is there."""
    with show_errors():
        predicted = run.predictions()
        rows = [row for row in predicted if Path(row["image"]).is_file()]
        if len(rows) < len(predicted):
            st.info(f"{len(predicted) - len(rows):,} of the {len(predicted):,} validation images are no longer there.")
        trained = cached.load_model(key) if key else None
        assert run.metrics is not None
        names, data = list(run.metrics["class_names"]), Path(options.data)
        data = data if data.is_absolute() else None  # digits by its name: nothing lies there
        opens = key if key and key.startswith("checkpoints/") else ""
        explore(Photos(rows, run.metrics, trained, f"result_{run.name}", opens, plan.image_size, data, names))
        if trained:
            _attention_change(cached.load_model(options.model), trained, rows, plan)


def _which_weights(best: int, state: State) -> str:
    if best == 0:
        return "Stopped in the first epoch: these are the weights up to there."
    return (
        f"Weights of epoch {best} of {state.epoch}, the one with the lowest validation loss. The best epoch was chosen "
        "on these photos, so new ones, on Evaluate, are the fairer test."
    )


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
        _downloads(run, key)


def _downloads(run: Run, key: str | None) -> None:
    """A button for the trained model, one for each file that the run left, and one for the ONNX file, made when asked.

    key: the model that was made; None where it is gone.
    """
    if key is not None:
        folder = resolve(key)
        st.download_button(
            "Model (zip)", lambda: model_zip(folder), f"{folder.name}.zip", "application/zip", on_click="ignore",
            icon=":material/download:", key="file_model", help="The trained weights, their settings and a model card.",
        )  # fmt: skip
    for name, kind in FILES.items():
        path = run.folder.path / name
        if path.is_file():
            st.download_button(
                name, lambda path=path: path.read_bytes(), f"{run.name}-{name}", kind, on_click="ignore",
                icon=":material/download:", key=f"file_{name}",
            )  # fmt: skip
    if key is None:
        return
    site_button(lambda: cached.load_model(key), run.name, "file_site")
    onnx = resolve(key) / "model.onnx"
    if onnx.is_file():
        st.download_button(
            "model.onnx", lambda: onnx.read_bytes(), f"{run.name}.onnx", on_click="ignore", icon=":material/download:",
            key="file_onnx",
        )  # fmt: skip
    elif st.button("Make ONNX", icon=":material/output:", key="make_onnx"):
        with show_errors():
            _make_onnx(key, onnx)
            st.rerun()


def model_zip(folder: Path) -> bytes:
    """A checkpoint's own files below its name, without its kept epochs; stored as they are, since weights don't shrink.

    Raises CheckpointError where one is gone.
    """
    content = BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name in MODEL_FILES:
            try:
                file.write(folder / name, f"{folder.name}/{name}")
            except OSError as error:
                raise CheckpointError(f"{name} of {folder.name} can't be read ({error.strerror}).") from error
    return content.getvalue()


def _make_onnx(key: str, path: Path) -> None:
    with st.spinner("Writing the model as ONNX"):
        model = cached.load_model(key)
        try:
            room = (path.parent / WEIGHTS).stat().st_size  # about as large
            with hold_room(room, path.parent), whole_file(path) as partial:
                export_onnx(model.module, partial, model.input_size)
        except OSError as error:
            raise DiskError(f"The ONNX file can't be written ({error.strerror}): free some space.") from error


def _places(count: int, width: int) -> list[Any]:
    """Places side by side, as many in a row as fit: six on a desk, two on a phone."""
    with st.container(horizontal=True):
        return [st.container(width=width, gap="small") for _ in range(count)]


def _attention_change(base: Model, trained: Model, rows: list[dict[str, Any]], plan: Plan) -> None:
    """The attention before and after on a few photos, where it can have changed."""
    if plan.train == "head":
        st.caption("Only the classifier was trained, so the attention is what it was before.")
        return
    st.header("Attention before and after", anchor=False)
    st.caption("The last layer's attention, mean of heads, on the same photos.")
    chosen = random.Random(1).sample(rows, min(COMPARED, len(rows)))
    for place, row in zip(_places(len(chosen), 2 * CELL + GAP), chosen, strict=True):
        with place, show_errors(), st.container(horizontal=True):
            for title, model in (("Before", base), ("After", trained)):
                picture = attention_picture(model, row["image"], plan.image_size, LAST)
                st.image(picture, caption=title, width=CELL)
    if (
        chosen
        and can_compare(base, trained)
        and st.button("Compare before and after", icon=":material/compare:", key="compare_before_after")
    ):
        open_in_compare(base, trained, chosen[0]["image"], chosen[0]["name"], plan.image_size)
