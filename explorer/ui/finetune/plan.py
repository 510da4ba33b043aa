"""Step Plan of the Fine-tune page: every setting of a run, what it will cost, and the start."""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import streamlit as st

from explorer import paths
from explorer.data.changes import NO_CHANGES, Changes
from explorer.data.datasets import check_trainable
from explorer.data.splits import assign_splits
from explorer.models import registry
from explorer.models.backbone import Model
from explorer.models.source import ModelSource
from explorer.training.estimate import Estimate, cache_warning, cost_line, estimate, kind_of
from explorer.training.examples import Examples
from explorer.training.plan import LAYER_DECAY, LEARNING_RATES, Plan
from explorer.training.runs.jobs import free_name, list_runs, start
from explorer.ui import cached
from explorer.ui.changes import show_changes
from explorer.ui.datasets import IMBALANCED
from explorer.ui.finetune.data import Dataset
from explorer.ui.finetune.runs import RUN, go_to, model_title
from explorer.ui.messages import plain
from explorer.ui.state import Choice
from explorer.ui.visitor import check_may_train, starting, why_not_train
from explorer.visitors.quotas import check_room, free_bytes
from explorer.visitors.settings import settings

TRAIN = {
    "head": ("Classifier only", "Seconds to minutes. The attention stays as it is."),
    "last": ("Last blocks", "Minutes. The attention of those blocks learns too."),
    "all": ("All blocks", "The slowest. Every weight learns."),
}
AUGMENTATIONS = {"none": "None", "flip": "Mirrored images", "full": "Full: RandAugment, crops, mixup"}
EPOCHS = {"head": 30, "last": 10, "all": 10}
NEW_HEADS = {"probe": "fitted", "random": "random"}
CACHES = {"disk": "On disk", "none": "None: slower epochs"}
KEPT: Any = {"persist_state": "session"}  # settings outlive a look at another step
_BLOCKS = "plan_blocks"
_STARTED = "plan_started"  # which run this window started last, and when
DOUBLE_CLICK = 3.0  # seconds after a start within which a click on the button is the same one's second


def choose_plan(choice: Choice, dataset: Dataset) -> None:
    """The form, what it costs, and the button that starts a run as a process of its own."""
    model = pick_base(choice.model, dataset)
    st.markdown(f"Train **{plain(model.name)}** on **{plain(dataset.title)}**.")
    plan = _plan(model, dataset)
    changes = _pick_changes(dataset)
    proposed = free_name(dataset.title, plan.train, paths.runs())
    left, right = st.columns([3, 2], gap="large", vertical_alignment="bottom")
    name = left.text_input("Name of the new model", proposed, key=f"name_{proposed}", **KEPT)
    onnx = right.checkbox("Also write ONNX", key="plan_onnx", **KEPT)
    cost = _cost(model, dataset, plan)
    st.markdown(cost_line(cost, plan, free_space()))
    if paths.workspace():
        st.caption(f"A training may take {settings().minutes:g} minutes here; what it has learnt by then is kept.")
    if warning := cache_warning(cost, free_space()):
        st.warning(f"{warning} Cache is under More settings.", icon=":material/hard_drive:")
    why_not = why_not_train()
    if why_not:
        st.caption(plain(why_not))

    def begin() -> str:
        check_room(cost.disk_bytes(plan))
        _check_changes(dataset, plan, changes)
        check_may_train()  # a disabled button is only the browser's word
        return start(
            dataset.path, model.source, plan, (name or "").strip(), paths.runs(),
            onnx=onnx, stored=dataset.stored, changes=changes,
        ).name  # fmt: skip

    pressed = st.button(
        "Start training", type="primary", key="start", icon=":material/play_arrow:", disabled=bool(why_not)
    )
    _start_once(pressed, begin)


def _start_once(pressed: bool, begin: Callable[[], str]) -> None:
    """Start a run, which begin() names, and show it; after the second click of a double one only show it.

    Streamlit ends the run of the page that the first click made, and begins the second beside it.
    """
    started: dict[str, Any] = st.session_state.setdefault(_STARTED, {"at": float("-inf")})  # one object for both
    if pressed:
        with st.spinner("Starting the training process …"), starting():
            if time.monotonic() - started["at"] > DOUBLE_CLICK:
                started.update(run=begin(), at=time.monotonic())
    if time.monotonic() - started["at"] < DOUBLE_CLICK:
        go_to("Train", **{RUN: started["run"]})


def free_space() -> int:
    """Bytes that a run may take: what the visitor has left, else what the disk has."""
    own = paths.workspace()
    on_disk = shutil.disk_usage(paths.runs().parent if own is None else paths.workspaces()).free
    return on_disk if own is None else min(on_disk, free_bytes(own))


def _pick_changes(dataset: Dataset) -> Changes:
    """What a person changed of the data while looking at mistakes, unless the run is to go without."""
    changes = show_changes(dataset.path, "plan")
    key = f"plan_changes_{dataset.path}"
    used = bool(changes.entries) and st.checkbox("Train with these changes", True, key=key, **KEPT)
    return changes if used else NO_CHANGES


def _check_changes(dataset: Dataset, plan: Plan, changes: Changes) -> None:
    """Raise DataError where too little is left to train on: the run would find it out a minute later."""
    changed = changes.apply(assign_splits(dataset.report, plan.val_fraction, plan.seed))
    check_trainable(changed, dataset.title)


def pick_base(shown: Model, dataset: Dataset) -> Model:
    """The model to start from: the sidebar's, or what these data's last run started from where that is another.

    Opening a mistake in Attention puts the run's result into the sidebar; the next run is still to start from its base.
    """
    before = last_base(dataset.path)
    if before is None or before == registry.absolute_source(shown.source):
        return shown
    last, sidebar = plain(model_title(before.source)), plain(shown.name)
    options = {"last": f"{last}, as the last run", "sidebar": f"{sidebar}, in the sidebar"}
    key = f"plan_base_{dataset.path}_{before}_{shown.source}"  # another model in the sidebar is another question
    picked = st.radio("Start from", list(options), format_func=options.__getitem__, key=key, horizontal=True, **KEPT)
    return cached.load_model(before) if picked == "last" else shown


def last_base(data: Path) -> ModelSource | None:
    """The model that the newest run on the data at that path started from; None where there is no run."""
    for run in list_runs(paths.runs()):
        if run.options and run.options.data == str(data.resolve()):
            return run.options.model
    return None


def _plan(model: Model, dataset: Dataset) -> Plan:
    kind = st.radio(
        "Train", list(TRAIN), format_func=lambda kind: TRAIN[kind][0], captions=[about for _, about in TRAIN.values()],
        key="plan_train", horizontal=True, **KEPT,
    )  # fmt: skip
    assert kind is not None
    settings: dict[str, Any] = {"train": kind}
    if kind == "last":
        settings["train"] = f"last-{_pick_blocks(model)}"
    epochs, rate, augmentation = st.columns(3, gap="medium")
    settings["epochs"] = epochs.number_input("Epochs", 1, 1000, EPOCHS[kind], key=f"plan_epochs_{kind}", **KEPT)
    usual = LEARNING_RATES[kind]
    settings["lr"] = rate.number_input(
        "Learning rate", 1e-7, 1.0, usual, usual / 5, format="%g", key=f"plan_lr_{kind}", **KEPT
    )
    settings["augmentation"] = augmentation.selectbox(
        "Augmentation", list(AUGMENTATIONS), 1, format_func=AUGMENTATIONS.__getitem__, key="plan_augmentation", **KEPT
    )
    with st.expander("More settings"):
        cells = _cells()
        settings |= _images(cells, model, dataset, settings["augmentation"]) | _optimizer(cells, kind, dataset)
    return Plan(**settings)


def _pick_blocks(model: Model) -> int:
    if model.depth == 1:
        return 1
    if st.session_state.get(_BLOCKS, 0) > model.depth:  # of a deeper model before
        st.session_state[_BLOCKS] = model.depth
    return st.slider("Blocks to train", 1, model.depth, 2, key=_BLOCKS, **KEPT)


def _cells() -> Iterator[Any]:
    """Places for settings, four in a row."""
    while True:
        yield from st.columns(4, gap="medium")


def _images(cells: Iterator[Any], model: Model, dataset: Dataset, augmentation: str) -> dict[str, Any]:
    """Which images, and at what size."""
    patch, size = model.patch_size, model.input_size
    largest = max(64 * patch, size)
    settings: dict[str, Any] = {
        "image_size": next(cells).number_input(
            "Image size, pixels", patch, largest, size, patch, key=f"plan_size_{model.source}", **KEPT
        ),
        "images_per_class": next(cells).number_input(
            "Images per class, at most", 1, None, None, placeholder="all", key="plan_images_per_class", **KEPT
        ),
    }
    if not dataset.report.has_split:
        share = next(cells).slider("Held out for validation, %", 5, 50, 15, key="plan_val_fraction", **KEPT)
        settings["val_fraction"] = share / 100
    settings["cache"] = next(cells).selectbox(
        "Cache", list(CACHES), format_func=CACHES.__getitem__, key="plan_cache", **KEPT,
        help="What the frozen blocks make of each image is kept on disk while the training runs. Without that every "
        "epoch runs them again, and sets of any size fit.",
    )  # fmt: skip
    if augmentation == "full":
        settings["mixup"] = next(cells).slider("Mixup", 0.0, 1.0, 0.2, key="plan_mixup", **KEPT)
    return settings


def _optimizer(cells: Iterator[Any], kind: str, dataset: Dataset) -> dict[str, Any]:
    """How the weights learn, and when to stop."""
    settings: dict[str, Any] = {
        "batch_size": next(cells).number_input("Batch size", 1, 1024, 32, key="plan_batch_size", **KEPT),
        "weight_decay": next(cells).number_input("Weight decay", 0.0, 1.0, 0.05, key="plan_weight_decay", **KEPT),
        "early_stopping": next(cells).number_input(
            "Stop after epochs without progress", 1, None, None, placeholder="never", key="plan_early_stopping", **KEPT,
            help="End when the validation loss has not fallen for so many epochs.",
        ),
        "seed": next(cells).number_input("Seed", 0, 2**32 - 1, 0, key="plan_seed", **KEPT),
        "warmup": next(cells).slider(
            "Warm-up", 0.0, 0.5, 0.1, key="plan_warmup", **KEPT,
            help="The share of all steps in which the learning rate rises, before it falls along a cosine.",
        ),
        "keep_epochs": next(cells).number_input(
            "Keep every so many epochs", 1, None, None, placeholder="none", key="plan_keep_epochs", **KEPT,
            help="Keep the weights of every so many epochs, to see on the Compare page how the attention changed.",
        ),
        "label_smoothing": next(cells).slider("Label smoothing", 0.0, 0.5, 0.0, key="plan_label_smoothing", **KEPT),
        "new_head": next(cells).selectbox(
            "New classifier starts", list(NEW_HEADS), format_func=NEW_HEADS.__getitem__, key="plan_new_head", **KEPT,
            help="Fitted: to the pretrained model's features, as a linear probe, in about a second. A random one "
            "spends the first epochs on that, and disturbs the blocks below meanwhile.",
        ),
    }  # fmt: skip
    if kind != "head":
        settings["layer_decay"] = next(cells).slider(
            "Layer-wise decay", 0.3, 1.0, LAYER_DECAY, key="plan_layer_decay", **KEPT,
            help="The learning rate of each layer relative to the one above it.",
        )  # fmt: skip
    settings["class_weights"] = next(cells).checkbox(
        "Class weights", dataset.report.imbalance() >= IMBALANCED, key=f"plan_class_weights_{dataset.path}", **KEPT,
        help="Images of rare classes count for more.",
    )  # fmt: skip
    return settings


def _cost(model: Model, dataset: Dataset, plan: Plan) -> Estimate:
    """Measured again only when something changes that costs time, or when another run has ended."""
    costly = (
        *(plan.train, plan.augmentation, plan.image_size, plan.cache),
        *(plan.images_per_class, plan.val_fraction, plan.seed),
    )
    ended = tuple(run.name for run in list_runs(paths.runs()) if run.state.status == "finished")
    asked = (cached.model_number(model), str(dataset.path), str(paths.runs()), *costly, ended)
    measured = _measure(asked, model, dataset, plan)
    return replace(measured, epochs=plan.epochs)


@st.cache_data(show_spinner="Timing a few images", max_entries=50)
def _measure(key: tuple, _model: Model, _dataset: Dataset, _plan: Plan) -> Estimate:
    examples = Examples.of(assign_splits(_dataset.report, _plan.val_fraction, _plan.seed), _plan)
    names, images = _dataset.report.class_names, (len(examples.train_images), len(examples.val_images))
    measured = estimate(_model, _plan, names, examples.train_images, images[1], str(_model.device))
    source = registry.absolute_source(_model.source)
    return measured.learned_from(list_runs(paths.runs()), kind_of(source, _plan), images)
