"""Predictions of a classifier for images, with or without knowing what they show."""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from explorer.data.images import ImageSource
from explorer.data.report import DatasetReport, Item
from explorer.errors import DataError, ImageError, ModelError
from explorer.evaluation.class_match import match_classes
from explorer.evaluation.metrics import predictions, report
from explorer.models.backbone import Model
from explorer.models.device_memory import enough_memory, in_fitting_batches
from explorer.models.formats.labels import Outputs
from explorer.words import text_cell

BATCH = 32
UNKNOWN = -1  # class of an image whose folder names none of the model's
LISTED = 6  # folders and classes that a sentence names


@dataclass(frozen=True)
class Predictions:
    """Probabilities for the images that opened, and a sentence for each that didn't.

    outputs: as Model.outputs; of labels each probability is its own, and a number stands as it is.
    """

    images: list[str]
    probabilities: Float[np.ndarray, "image class"]
    class_names: list[str]
    rejected: dict[str, str]
    outputs: Outputs = "classes"

    def top(self, index: int, count: int = 3) -> list[tuple[str, float]]:
        """The likeliest classes of one image with their probabilities; of a regression its largest numbers."""
        order = np.argsort(-self.probabilities[index])[:count]
        return [(self.class_names[i], float(self.probabilities[index, i])) for i in order]

    def words(self, index: int, count: int = 3) -> str:
        """top() as a person reads it: "cat 0.931, dog 0.052"; of a regression with one output its number alone."""
        if self.outputs == "number" and len(self.class_names) == 1:
            return f"{self.probabilities[index, 0]:.4f}"
        return ", ".join(f"{name} {value:.3f}" for name, value in self.top(index, count))


@dataclass(frozen=True)
class Evaluation:
    """What a model makes of a data set.

    rows: one per image, those with a known class first, worst mistakes first; `actual` is "" for the others.
    metrics: as metrics.json has them, None where no image could be scored. notes: sentences about what wasn't scored.
    """

    found: Predictions
    rows: list[dict[str, Any]]
    metrics: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def actual(self) -> dict[str, str]:
        """The class of each image where it is known, by the image's name."""
        return {row["name"]: row["actual"] for row in self.rows if row.get("actual")}


def class_names_of(model: Model) -> list[str]:
    """The names of the model's classes, numbers where it has none; raises ModelError where it has no classifier."""
    with torch.inference_mode(), enough_memory(f"classify one image with {model.name}", "use a smaller model"):
        logits = model.forward(torch.zeros(1, 3, *model.input_shape, device=model.device))[1]
    if logits is None:
        raise ModelError(f"{model.name} has no classifier: fine-tune it first, or choose a fine-tuned checkpoint.")
    return model.class_names or [f"class {index}" for index in range(logits.shape[1])]


def predict(model: Model, images: Sequence[ImageSource], names: Sequence[str] | None = None) -> Predictions:
    """Classify images; names: what to call them, by default their paths. Broken images are listed, not raised."""
    return _predict(model, images, names)[0]


def _predict(
    model: Model, images: Sequence[ImageSource], names: Sequence[str] | None
) -> tuple[Predictions, Float[np.ndarray, "image class"]]:
    """predict(), and the logits that it stands on."""
    class_names = class_names_of(model)
    names = [str(image) for image in images] if names is None else list(names)
    opened: list[str] = []
    rejected: dict[str, str] = {}
    logits: list[np.ndarray] = []
    for start in range(0, len(images), BATCH):
        fitted: list[Image.Image] = []
        for name, image in zip(names[start : start + BATCH], images[start : start + BATCH], strict=True):
            try:
                fitted.append(model.fit(image))
                opened.append(name)
            except ImageError as error:
                rejected[name] = str(error)
        if fitted:
            logits.append(_logits(model, fitted))
    rows = np.concatenate(logits) if logits else np.zeros((0, len(class_names)), np.float32)
    probabilities = model.probabilities(torch.from_numpy(rows)).numpy()
    return Predictions(opened, probabilities, class_names, rejected, model.outputs), rows


def evaluate(model: Model, data: DatasetReport) -> Evaluation:
    """Predictions for all images, scored where their folder's name means one of the model's classes.

    Only the validation side counts where the data has one. The notes say what wasn't scored.
    """
    names = class_names_of(model)
    if model.outputs == "number":
        raise ModelError(f"{model.name} predicts a number, not classes: predict it, and compare the numbers yourself.")
    items = data.split_items("val") or list(data.items)
    known = match_classes(data.class_names, model.class_names, len(names))
    found, logits = _predict(model, [item.file for item in items], [item.name for item in items])
    if found.rejected:
        name, reason = next(iter(found.rejected.items()))
        raise DataError(f"{name} opened before but doesn't any more: {reason}")
    labels = np.array([known.get(data.folder(item), UNKNOWN) for item in items])
    scored, others = np.flatnonzero(labels != UNKNOWN), np.flatnonzero(labels == UNKNOWN)
    rows = [_unscored(items[place], found, int(place)) for place in others]
    notes = _notes([data.folder(items[place]) for place in others], names)
    if not len(scored):
        return Evaluation(found, rows, None, notes)
    logits, labels = logits[scored], labels[scored]
    ranked = predictions(logits, labels, [items[place] for place in scored], names, model.outputs)
    return Evaluation(found, ranked + rows, report(logits, labels, names, outputs=model.outputs), notes)


def _unscored(item: Item, found: Predictions, place: int) -> dict[str, Any]:
    name, probability = found.top(place, 1)[0]
    return {"image": item.path, "name": item.name, "actual": "", "predicted": name, "probability": probability}


def _notes(unscored: Sequence[str], names: Sequence[str]) -> list[str]:
    """One sentence about the images whose folder, "" for none, is no class of the model; none where there are none."""
    counts = Counter(folder for folder in unscored if folder)
    if not counts:
        return ["The images lie in no class folders, so they are predicted but not scored."] * bool(unscored)
    listed = ", ".join(f"'{name}' ({count})" for name, count in list(counts.items())[:LISTED])
    more = f" and {len(counts) - LISTED} more" if len(counts) > LISTED else ""
    known = ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED:,} more" if len(names) > LISTED else "")
    folder, their = ("folder", "its") if len(counts) == 1 else ("folders", "their")
    return [
        f"No class of the model is called like the {folder} {listed}{more}, so {their} images are predicted but not "
        f"scored; the model knows {known}."
    ]


def write_predictions(path: Path, found: Predictions, actual: dict[str, str] | None = None) -> None:
    """A CSV with one row per image: image, actual (empty where unknown), predicted, probability, then every class.

    Of a regression it has the image and every number.
    """
    verdict = [] if found.outputs == "number" else ["predicted", "probability"]
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        known = ["actual"] if actual else []
        writer.writerow(["image", *known, *verdict, *map(text_cell, found.class_names)])
        for index, (image, row) in enumerate(zip(found.images, found.probabilities, strict=True)):
            known = [text_cell(actual.get(image, ""))] if actual else []
            name, probability = found.top(index, 1)[0]
            likeliest = [text_cell(name), f"{probability:.6f}"] if verdict else []
            writer.writerow([text_cell(image), *known, *likeliest, *(f"{value:.6f}" for value in row)])


def _logits(model: Model, fitted: list[Image.Image]) -> np.ndarray:
    with enough_memory(f"classify one image with {model.name}", "use a smaller model"):
        return np.concatenate(list(in_fitting_batches(fitted, partial(_logits_at_once, model))))


@torch.inference_mode()
def _logits_at_once(model: Model, fitted: Sequence[Image.Image]) -> np.ndarray:
    pixels = torch.from_numpy(np.stack([np.array(image) for image in fitted])).to(model.device)
    logits = model.forward(model.normalise(pixels))[1]
    assert logits is not None
    return logits.float().cpu().numpy()
