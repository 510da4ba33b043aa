"""Step Plan of the Fine-tune page: every setting of a run, what it will cost, and the start."""

from typing import Any

import streamlit as st

from explorer.models.backbone import Model
from explorer.training.jobs import free_name, start
from explorer.training.options import runs_folder
from explorer.training.plan import LAYER_DECAY, LEARNING_RATES, Plan
from explorer.ui.finetune_data import Dataset
from explorer.ui.finetune_report import IMBALANCED
from explorer.ui.finetune_steps import RUN, go_to
from explorer.ui.messages import plain

TRAIN = {
    "head": ("Head only", "Seconds to minutes. The attention stays as it is."),
    "last": ("Last blocks", "Minutes. The attention of those blocks learns too."),
    "all": ("All blocks", "The slowest. Every weight learns."),
}
AUGMENTATIONS = {"none": "None", "flip": "Mirrored images", "full": "Full: RandAugment, crops, mixup"}
EPOCHS = {"head": 30, "last": 10, "all": 10}
KEPT: Any = {"persist_state": "session"}  # settings outlive a look at another step


def choose_plan(model: Model, dataset: Dataset) -> None:
    """The form, what it costs, and the button that starts a run as a process of its own."""
    st.markdown(f"Train **{plain(model.name)}**, the sidebar's model, on **{plain(dataset.title)}**.")
    plan = _plan(model, dataset)
    proposed = free_name(dataset.title, plan.train, runs_folder())
    left, right = st.columns([3, 2], gap="large", vertical_alignment="bottom")
    name = left.text_input("Name of the new model", proposed, key=f"name_{proposed}", **KEPT)
    onnx = right.checkbox("Also write ONNX", key="plan_onnx", **KEPT)
    if st.button("Start training", type="primary", key="start", icon=":material/play_arrow:"):
        folder = start(dataset.path, model.source, plan, (name or "").strip(), runs_folder(), onnx=onnx)
        go_to("Train", **{RUN: folder.name})


def _plan(model: Model, dataset: Dataset) -> Plan:
    kind = st.radio(
        "Train", list(TRAIN), format_func=lambda kind: TRAIN[kind][0], captions=[about for _, about in TRAIN.values()],
        key="plan_train", horizontal=True, **KEPT,
    )  # fmt: skip
    assert kind is not None
    settings: dict[str, Any] = {"train": kind}
    if kind == "last":
        count = st.slider("Blocks to train", 1, model.depth, min(2, model.depth), key="plan_blocks", **KEPT)
        settings["train"] = f"last-{count}"
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
        settings |= _images(model, dataset, settings["augmentation"]) | _optimizer(kind, dataset)
    return Plan(**settings)


def _images(model: Model, dataset: Dataset, augmentation: str) -> dict[str, Any]:
    """Which images, and at what size."""
    first, second, third, fourth = st.columns(4, gap="medium")
    patch = model.patch_size
    settings: dict[str, Any] = {
        "image_size": first.number_input(
            "Image size, pixels", patch, 64 * patch, model.input_size, patch, key=f"plan_size_{model.source}", **KEPT
        ),
        "images_per_class": second.number_input(
            "Images a class, at most", 1, None, None, placeholder="all", key="plan_images_per_class", **KEPT
        ),
    }
    if not dataset.report.has_split:
        share = third.slider("Held out for validation, %", 5, 50, 15, key="plan_val_fraction", **KEPT)
        settings["val_fraction"] = share / 100
    if augmentation == "full":
        settings["mixup"] = fourth.slider("Mixup", 0.0, 1.0, 0.2, key="plan_mixup", **KEPT)
    return settings


def _optimizer(kind: str, dataset: Dataset) -> dict[str, Any]:
    """How the weights learn, and when to stop."""
    first, second, third, fourth = st.columns(4, gap="medium")
    settings: dict[str, Any] = {
        "batch_size": first.number_input("Batch size", 1, 1024, 32, key="plan_batch_size", **KEPT),
        "weight_decay": first.number_input("Weight decay", 0.0, 1.0, 0.05, key="plan_weight_decay", **KEPT),
        "early_stopping": second.number_input(
            "Stop early after epochs", 1, None, None, placeholder="never", key="plan_early_stopping", **KEPT,
            help="End when the validation loss has not fallen for so many epochs.",
        ),
        "seed": second.number_input("Seed", 0, 2**32 - 1, 0, key="plan_seed", **KEPT),
        "warmup": third.slider(
            "Warm-up", 0.0, 0.5, 0.1, key="plan_warmup", **KEPT,
            help="The share of all steps in which the learning rate rises, before it falls along a cosine.",
        ),
        "label_smoothing": third.slider("Label smoothing", 0.0, 0.5, 0.0, key="plan_label_smoothing", **KEPT),
        "class_weights": fourth.checkbox(
            "Class weights", dataset.report.imbalance() >= IMBALANCED, key="plan_class_weights", **KEPT,
            help="Images of rare classes count for more.",
        ),
    }  # fmt: skip
    if kind != "head":
        settings["layer_decay"] = fourth.slider(
            "Layer-wise decay", 0.3, 1.0, LAYER_DECAY, key="plan_layer_decay", **KEPT,
            help="The learning rate of each layer relative to the one above it.",
        )  # fmt: skip
    return settings
