"""Predictions of a classifier for images, with or without knowing what they show."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from explorer.data.images import ImageSource
from explorer.data.report import DatasetReport
from explorer.errors import DataError, ImageError, ModelError
from explorer.models.backbone import Model
from explorer.models.registry import CHECKPOINTS
from explorer.training.cache import normalise
from explorer.training.evaluation import predictions, report

BATCH = 32


@dataclass(frozen=True)
class Predictions:
    """Probabilities (image, class) for the images that opened, and a sentence for each that didn't."""

    images: list[str]
    probabilities: np.ndarray
    class_names: list[str]
    rejected: dict[str, str]

    def top(self, index: int, count: int = 3) -> list[tuple[str, float]]:
        """The likeliest classes of one image with their probabilities."""
        order = np.argsort(-self.probabilities[index])[:count]
        return [(self.class_names[i], float(self.probabilities[index, i])) for i in order]


def find_source(checkpoint: str | Path) -> str:
    """What load_model takes for a checkpoint's path, its name in the checkpoints folder, or any other source."""
    named = CHECKPOINTS / str(checkpoint)
    return str(named) if not Path(checkpoint).exists() and named.is_dir() else str(checkpoint)


def class_names_of(model: Model) -> list[str]:
    """The names of the model's classes, numbers where it has none; raises ModelError where it has no classifier."""
    with torch.inference_mode():
        logits = model.forward(torch.zeros(1, 3, model.input_size, model.input_size, device=model.device))[1]
    if logits is None:
        raise ModelError(f"{model.name} has no classifier: fine-tune it first, or choose a fine-tuned checkpoint.")
    return model.class_names or [f"class {index}" for index in range(logits.shape[1])]


def predict(model: Model, images: Sequence[ImageSource], names: Sequence[str] | None = None) -> Predictions:
    """Classify images; names: what to call them, by default their paths. Broken images are listed, not raised."""
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
    return Predictions(opened, torch.from_numpy(rows).softmax(1).numpy(), class_names, rejected)


def evaluate(model: Model, data: DatasetReport) -> tuple[dict[str, Any], list[dict[str, Any]], Predictions]:
    """(metrics as metrics.json has them, one row an image with the worst mistakes first, the predictions).

    Only the validation side counts where the data has one. Raises DataError for classes that the model doesn't know.
    """
    class_names = class_names_of(model)
    unknown = [name for name in data.class_names if name not in class_names]
    if unknown:
        known = ", ".join(class_names[:8]) + (" and more" if len(class_names) > 8 else "")
        raise DataError(f"The model has no class {unknown[0]!r}; it knows {known}: rename the class folders.")
    items = data.split_items("val") if data.has_split else list(data.items)
    labels = np.array([class_names.index(data.class_names[item.label]) for item in items])
    found = predict(model, [item.file for item in items], [item.name for item in items])
    if found.rejected:
        name, reason = next(iter(found.rejected.items()))
        raise DataError(f"{name} opened before but doesn't any more: {reason}")
    logits = np.log(np.maximum(found.probabilities, 1e-12))
    metrics = report(logits, labels, class_names)
    return metrics, predictions(logits, labels, items, class_names), found


def write_predictions(path: Path, found: Predictions, actual: dict[str, str] | None = None) -> None:
    """A CSV with one row an image: image, actual where known, predicted, probability, then every class."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        known = ["actual"] if actual else []
        writer.writerow(["image", *known, "predicted", "probability", *found.class_names])
        for index, (image, row) in enumerate(zip(found.images, found.probabilities, strict=True)):
            name, probability = found.top(index, 1)[0]
            known = [actual[image]] if actual else []
            writer.writerow([image, *known, name, f"{probability:.6f}", *(f"{value:.6f}" for value in row)])


@torch.inference_mode()
def _logits(model: Model, fitted: list[Image.Image]) -> np.ndarray:
    pixels = torch.from_numpy(np.stack([np.array(image) for image in fitted])).to(model.device)
    logits = model.forward(normalise(pixels, model))[1]
    assert logits is not None
    return logits.float().cpu().numpy()
