"""The checkpoint of a run: a folder in timm's hub format, which timm, transformers and the explorer all open."""

import json
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import timm
import torch
from timm.models._hub import save_config_for_hf
from torch import Tensor, nn

from explorer.models.backbone import Model
from explorer.models.registry import EPOCHS, TRAINED_FROM, find, resolve
from explorer.models.source import TrainedFrom
from explorer.training.examples import Examples
from explorer.training.plan import Plan
from explorer.training.runs.json_files import fits
from explorer.training.runs.snapshots import load_tensors, save_tensors
from explorer.words import count_in_words

SEEN = "seen.json"  # in the checkpoint's folder: it outlives the run
DIGITS = 16  # of the 64 of a file's sha256: enough to tell a billion photos apart
LARGEST_FILE = 2**28  # bytes


def save_checkpoint(
    folder: Path,
    module: nn.Module,
    model: Model,
    size: int,
    plan: Plan,
    examples: Examples,
    metrics: Mapping[str, Any],
    origin: TrainedFrom,
    epochs: Mapping[int, Path] = MappingProxyType({}),
) -> Path:
    """Write config.json, model.safetensors, README.md and seen.json; an earlier one stays until the new one is whole.

    module: the trained copy of model.module. size: side of its input in pixels. origin: what it was trained from.
    epochs: the trained tensors of those to keep as models of their own below epochs/.
    """
    names = list(examples.report.class_names)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        save_model(partial, module, model, size, names, origin)
        for epoch, file in sorted(epochs.items()):
            save_model(partial / EPOCHS / f"{epoch:03}", module, model, size, names, origin, load_tensors(file))
        write_seen(partial, examples, origin)
        card = model_card(folder.name, model, size, plan, examples, metrics, origin)
        (partial / "README.md").write_text(card, encoding="utf-8", errors="backslashreplace")
    except OSError:  # a full disk: leave none of it occupied
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    return partial.rename(folder)


def save_model(
    folder: Path,
    module: Any,
    model: Model,
    size: int,
    names: list[str],
    origin: TrainedFrom,
    weights: Mapping[str, Tensor] | None = None,
) -> None:
    """Write config.json and model.safetensors of a trained module; weights: other trained ones, kept in half precision.

    model: for its preprocessing. names: of the classes. origin: what it was trained from.
    """
    folder.mkdir(parents=True)
    preprocessing = {
        "input_size": (3, size, size),
        "mean": tuple(model.mean),
        "std": tuple(model.std),
        "interpolation": model.interpolation,
        "crop_pct": 1.0,
        "crop_mode": "center",
    }
    tensors = module.state_dict()
    if weights is not None:
        tensors = {key: _half(weights.get(key, tensor)) for key, tensor in tensors.items()}
    save_tensors(folder / "model.safetensors", tensors)
    config = folder / "config.json"
    ours = {"label_names": names, TRAINED_FROM: asdict(origin)}
    save_config_for_hf(module, str(config), ours, data_config=preprocessing)
    _mend_config(config)


def kept_bytes(module: nn.Module, plan: Plan) -> int:
    """Disk for the epochs that the plan keeps: each a whole model in float16, and until the end what was trained."""
    epochs = sum(plan.keeps(epoch) for epoch in range(1, plan.epochs + 1))
    return epochs * sum((6 if parameter.requires_grad else 2) * parameter.numel() for parameter in module.parameters())


def result_bytes(module: nn.Module) -> int:
    """Disk for the result: the whole model, and of what was trained the best, the last and what a resumed run needs."""
    # In float32: best, last, and in resume.pt the weights with AdamW's two moments.
    return sum((24 if parameter.requires_grad else 4) * parameter.numel() for parameter in module.parameters())


def _half(tensor: Tensor) -> Tensor:
    """In float16, where no number is too large for it; counters as they are."""
    half = tensor.half() if tensor.is_floating_point() else tensor
    return half if torch.equal(half.isfinite(), tensor.isfinite()) else tensor


def _mend_config(path: Path) -> None:
    """transformers passes num_classes itself and fails on a second one in model_args; timm reads the top-level one."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config.get("model_args", {}).pop("num_classes", None)
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False), encoding="utf-8")


def model_card(
    name: str,
    model: Model,
    size: int,
    plan: Plan,
    examples: Examples,
    metrics: Mapping[str, Any],
    origin: TrainedFrom,
) -> str:
    """README.md: what the model is, what it was trained on and how, how good it is, and how to open it."""
    names, data = examples.report.class_names, examples.report
    train, val = (np.bincount(labels, minlength=len(names)) for labels in (examples.train_labels, examples.val_labels))
    baseline, intervals = metrics["baseline"], metrics["intervals"]
    classes = "".join(
        f"| {in_markdown(name)} | {train[i]} | {val[i]} | {' | '.join(f'{row[key]:.3f}' for key in PER_CLASS)} |\n"
        for i, (name, row) in enumerate(zip(names, metrics["per_class"], strict=True))
    )
    scores = "".join(
        f"| {label} | {baseline[key]:.3f} | {metrics[key]:.3f} | {_interval(intervals, key)} |\n"
        for key, label in SCORES.items()
    )
    used = plan.used()
    if model.class_names == list(names):
        del used["new_head"]  # the model's own head was kept
    settings = "".join(f"| {key} | {value} |\n" for key, value in used.items())
    return CARD.format(
        name=name,
        base=Path(origin.model.source).name if Path(origin.model.source).exists() else origin.model.source,
        base_model=f"base_model: {hub}\n" if (hub := hub_id(origin.model.source)) else "",
        size=size,
        mean=", ".join(f"{value:g}" for value in model.mean),
        std=", ".join(f"{value:g}" for value in model.std),
        interpolation=model.interpolation,
        train=train.sum(),
        val=val.sum(),
        rejected=len(data.rejected),
        duplicates=len(data.duplicates),
        knn=metrics["knn_accuracy"],
        best=metrics["best_epoch"],
        **{"classes": classes, "scores": scores, "settings": settings},
    )


def in_markdown(text: str) -> str:
    """The text as a table of the card shows it, with nothing in it that would be taken for markup."""
    return re.sub(r"([\\`*_\[\]<>|~#&!])", r"\\\1", " ".join(text.split()))


def hub_id(source: str) -> str | None:
    """The hub repository that the weights of a source come from; None for a local model."""
    entry = find(source)
    if entry:
        return entry.repo_id
    library, _, model_id = source.partition(":")
    if library == "hf" or model_id.startswith("hf-hub:"):
        return model_id.removeprefix("hf-hub:")
    config = timm.get_pretrained_cfg(model_id) if library == "timm" else None
    return config.hf_hub_id if config else None


def _interval(intervals: Mapping[str, Any], key: str) -> str:
    return "{:.3f} to {:.3f}".format(*intervals[key]) if key in intervals else ""


SCORES = {"accuracy": "accuracy", "f1_macro": "F1, macro", "f1_weighted": "F1, weighted", "loss": "loss (nats)"}

PER_CLASS = "precision", "recall", "f1"

CARD = """\
---
library_name: timm
pipeline_tag: image-classification
{base_model}tags:
- image-classification
- timm
- transformers
---
# {name}

A Vision Transformer fine-tuned from `{base}` to tell {train} training images of the classes below apart.

## Quality
On {val} validation images, weights of epoch {best} (lowest validation loss).

| | untrained head | this model | 95 % interval |
|---|---|---|---|
{scores}
A nearest-neighbour vote on the base model's frozen features reaches an accuracy of {knn:.3f}.

| class | training images | validation images | precision | recall | F1 |
|---|---|---|---|---|---|
{classes}
## Data
{train} training and {val} validation images; {rejected} files left out because they could not be read;
{duplicates} groups of duplicates, each kept on one side of the split unless the data came with its own split.

## Preprocessing
Short side to {size} pixels ({interpolation}), centre crop to {size} x {size}; RGB / 255; mean ({mean});
standard deviation ({std}).

## Plan
| setting | value |
|---|---|
{settings}
## Open it
```python
import timm
model = timm.create_model("local-dir:PATH", pretrained=True)

from transformers import AutoModelForImageClassification
model = AutoModelForImageClassification.from_pretrained("PATH")

import explorer
model = explorer.load_model("PATH")
```
"""


@dataclass(frozen=True)
class Seen:
    """The first DIGITS of the sha256 of each photo's file."""

    train: frozenset[str] = frozenset()
    val: frozenset[str] = frozenset()

    def count(self, shas: Iterable[str]) -> tuple[int, int]:
        """How many of the files with these sha256 were trained on, and how many only validated on."""
        short = [sha[:DIGITS] for sha in shas]
        trained = sum(sha in self.train for sha in short)
        return trained, sum(sha in self.val and sha not in self.train for sha in short)

    def warning(self, shas: Sequence[str]) -> str:
        """A sentence about the images among these that are known, which a score doesn't tell the truth about; or ""."""
        trained, validated = self.count(shas)
        if not trained + validated:
            return ""
        parts = [f"{trained:,} in its training"] * bool(trained)
        parts += [f"{validated:,} in its validation"] * bool(validated)
        return (
            f"The model knows {trained + validated:,} of these {count_in_words(len(shas), 'image')} already: "
            f"{' and '.join(parts)}. New images are the fair test."
        )


def write_seen(folder: Path, examples: Examples, origin: TrainedFrom) -> None:
    """Write what the examples hold, and what the base model had seen in trainings of its own."""
    before = read_seen(origin.model.source)
    sides = {"train": (examples.train_items, before.train), "val": (examples.val_items, before.val)}
    content = {side: sorted({*old, *(item.sha[:DIGITS] for item in items)}) for side, (items, old) in sides.items()}
    (folder / SEEN).write_text(json.dumps(content), encoding="utf-8")


def read_seen(source: str) -> Seen:
    """What the model of that source has seen, as far as its folder tells; kept epochs look in their checkpoint's."""
    folder = resolve(source)
    if folder.parent.name == EPOCHS:
        folder = folder.parent.parent
    path = folder / SEEN
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_FILE:
            return Seen()
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return Seen()
    if not fits(content, {"train": [str], "val": [str]}):
        return Seen()
    return Seen(frozenset(content["train"]), frozenset(content["val"]))
