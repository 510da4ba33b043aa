"""Predictions of a classifier for images, with or without knowing what they show."""

import csv
import hashlib
import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from explorer.data.images import ImageSource
from explorer.data.report import DatasetReport
from explorer.errors import DataError, ImageError, ModelError
from explorer.evaluation.class_match import match_classes
from explorer.evaluation.metrics import losses, report_of, worst_first
from explorer.evaluation.sharing import BATCH
from explorer.files import whole_file
from explorer.models.backbone import Model
from explorer.models.device_memory import enough_memory, in_fitting_batches
from explorer.models.formats.labels import Outputs
from explorer.words import text_cell

Given = TypeVar("Given")
Made = TypeVar("Made")
Row = dict[str, Any]

THREADS = 4  # that decode images
ROW = ("image", "name", "sha", "actual", "predicted", "probability", "loss")  # what is kept of an image
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

    found: without images where there are too many to keep all their probabilities. rows: one per image, those with a
    known class first, worst mistakes first; `actual` is "" for the others.
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
    """The names of the model's classes, numbers where it has none; raises ModelError where it has no classifier.

    A name that several classes have, as ImageNet's two cranes, is followed by the class's number.
    """
    height, width = model.input_shape
    logits = _logits(model, [Image.new("RGB", (width, height))])
    names = model.class_names or [f"class {index}" for index in range(logits.shape[1])]
    counts = Counter(names)
    return [name if counts[name] == 1 else f"{name} ({index})" for index, name in enumerate(names)]


def predict(
    model: Model,
    images: Sequence[ImageSource],
    names: Sequence[str] | None = None,
    class_names: list[str] | None = None,
) -> Predictions:
    """Classify images; names: what to call them, by default their paths. Broken images are listed, not raised.

    class_names: class_names_of(model), where it is known already. The images of a folder too large to keep all their
    probabilities are predicted BATCH at a time.
    """
    class_names = class_names or class_names_of(model)
    names = [str(image) for image in images] if names is None else list(names)
    opened: list[str] = []
    rejected: dict[str, str] = {}
    logits: list[np.ndarray] = []
    for start in range(0, len(images), BATCH):
        fitted: list[Image.Image] = []
        batch = slice(start, start + BATCH)
        for name, image in zip(names[batch], in_threads(partial(fit, model), images[batch]), strict=True):
            if isinstance(image, ImageError):
                rejected[name] = str(image)
            else:
                fitted.append(image)
                opened.append(name)
        if fitted:
            logits.append(_logits(model, fitted))
    rows = np.concatenate(logits) if logits else np.zeros((0, len(class_names)), np.float32)
    probabilities = model.probabilities(torch.from_numpy(rows)).numpy()
    return Predictions(opened, probabilities, class_names, rejected, model.outputs)


def fit(model: Model, image: ImageSource) -> Image.Image | ImageError:
    """The image as the model sees it, or why it can't be opened."""
    try:
        return model.fit(image)
    except ImageError as error:
        return error


def in_threads(work: Callable[[Given], Made], items: Sequence[Given]) -> list[Made]:
    """What the work makes of each item, a few at a time: decoding frees the interpreter."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(work, items))


@dataclass(frozen=True)
class Photo:
    """One image to evaluate: its name, its class folder ("" for none), and where it is.

    read: gives what open_image takes, ImageError where there is nothing. path: its file, if it has one. sha: of its
    bytes, "" where it isn't known yet.
    """

    name: str
    folder: str
    read: Callable[[], ImageSource]
    path: str | None = None
    sha: str = ""


class Scorer:
    """What a model makes of a data set with these class folders: rows of a few images at a time, then all together.

    Raises ModelError for a model without classes.
    """

    def __init__(self, model: Model, folders: Iterable[str]):
        self.model, self.class_names = model, class_names_of(model)
        if model.outputs == "number":
            raise ModelError(
                f"{model.name} predicts a number, not classes: predict it, and compare the numbers yourself."
            )
        self.known = match_classes(list(folders), model.class_names, len(self.class_names))

    def rows(self, photos: Sequence[Photo]) -> list[Row]:
        """A row for each image, plain values; of one that can't be opened its name and why ("rejected").

        Beside a row of Evaluation it has its class folder, the number of the predicted class, that of the actual one
        where it is known, and all probabilities.
        """
        made = in_threads(self._open, photos)
        fitted = [image for image, _ in made if isinstance(image, Image.Image)]
        logits = iter(_logits(self.model, fitted) if fitted else ())
        return [
            {"name": photo.name, "rejected": str(image)}
            if isinstance(image, ImageError)
            else self._row(photo, sha, next(logits))
            for photo, (image, sha) in zip(photos, made, strict=True)
        ]

    def together(self, rows: Iterable[Row]) -> Evaluation:
        """The evaluation of all rows, which keeps no probabilities but those of the likeliest classes."""
        scored: list[Row] = []
        others: list[Row] = []
        rejected, folders = {}, Counter[str]()
        labels, predicted = array("q"), array("q")
        for row in rows:
            if "rejected" in row:
                rejected[row["name"]] = row["rejected"]
                continue
            kept = {key: row[key] for key in ROW if key in row}
            if "loss" in row:
                scored.append(kept)
                labels.append(row["label"])
                predicted.append(row["prediction"])
            else:
                others.append(kept)
                folders[row["folder"]] += 1
        found = Predictions([], np.zeros((0, len(self.class_names)), np.float32), self.class_names, rejected,
                            self.model.outputs)  # fmt: skip
        metrics = None
        if scored:
            loss = np.array([row["loss"] for row in scored])
            metrics = report_of(np.array(predicted), np.array(labels), loss, self.class_names)
        return Evaluation(found, worst_first(scored) + others, metrics, _notes(folders, self.class_names))

    def _open(self, photo: Photo) -> tuple[Image.Image | ImageError, str]:
        """The image as the model sees it, or why it can't, and the sha256 of its bytes."""
        try:
            data = photo.read()
        except ImageError as error:
            return error, ""
        sha = photo.sha or (hashlib.sha256(data).hexdigest() if isinstance(data, bytes) else "")
        return fit(self.model, data), sha

    def _row(self, photo: Photo, sha: str, logits: Float[np.ndarray, " class"]) -> Row:
        probabilities = self.model.probabilities(torch.from_numpy(logits)).numpy()
        prediction, label = int(logits.argmax()), self.known.get(photo.folder)
        row = {
            "image": photo.path,
            "name": photo.name,
            "sha": sha,
            "folder": photo.folder,
            "actual": "",
            "predicted": self.class_names[prediction],
            "prediction": prediction,
            "probability": float(probabilities[prediction]),
            "probabilities": probabilities.tolist(),
        }
        if label is None:
            return row
        loss = float(losses(logits[None], np.array([label]), self.model.outputs)[0])
        return {**row, "actual": self.class_names[label], "label": label, "loss": loss}


def evaluate(model: Model, data: DatasetReport) -> Evaluation:
    """Predictions for all images, scored where their folder's name means one of the model's classes.

    Only the validation side counts where the data has one. The notes say what wasn't scored.
    """
    scorer = Scorer(model, data.class_names)
    items = data.split_items("val") or list(data.items)
    photos = [
        Photo(item.name, data.folder(item), partial(getattr, item, "file"), item.path, item.sha) for item in items
    ]
    names: list[str] = []
    probabilities: list[np.ndarray] = []

    def rows() -> Iterator[Row]:
        for start in range(0, len(photos), BATCH):
            for row in scorer.rows(photos[start : start + BATCH]):
                if "rejected" not in row:
                    names.append(row["name"])
                    probabilities.append(np.array(row.pop("probabilities"), np.float32))  # 4 bytes each, as a list 32
                yield row

    made = scorer.together(rows())
    if made.found.rejected:
        name, reason = next(iter(made.found.rejected.items()))
        raise DataError(f"{name} opened before but doesn't any more: {reason}")
    return replace(made, found=replace(made.found, images=names, probabilities=np.stack(probabilities)))


def _notes(unscored: Counter[str], names: Sequence[str]) -> list[str]:
    """One sentence about the images whose folder, "" for none, is no class of the model; none where there are none."""
    counts = Counter({folder: count for folder, count in unscored.items() if folder})
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
    """A CSV with one row per image, as prediction_cells() has them; the actual class, if any is known, by image."""
    rows = (
        prediction_cells(image, row, found.class_names, found.outputs, actual.get(image, "") if actual else None)
        for image, row in zip(found.images, found.probabilities, strict=True)
    )
    with open_rows(path, prediction_columns(found.class_names, found.outputs, bool(actual))) as file:
        file.writerows(rows)


@contextmanager
def open_rows(path: Path, columns: Sequence[str]) -> Iterator[Any]:
    """csv's writer, below the columns, of a file that takes the place of another once it is whole; a link stays one."""
    how: Any = {"newline": "", "encoding": "utf-8", "errors": "backslashreplace"}
    with whole_file(Path(os.path.realpath(path))) as partial, partial.open("w", **how) as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        yield writer


def prediction_columns(class_names: Sequence[str], outputs: Outputs, actual: bool) -> list[str]:
    """image, actual (where it is known of any), predicted, probability, every class; of a regression its numbers."""
    verdict = [] if outputs == "number" else ["predicted", "probability"]
    return ["image", *["actual"] * actual, *verdict, *map(text_cell, class_names)]


def prediction_cells(
    image: str,
    probabilities: Sequence[float] | Float[np.ndarray, " class"],
    class_names: Sequence[str],
    outputs: Outputs,
    actual: str | None = None,
) -> list[str]:
    """The row of one image below prediction_columns(); actual: None where it is known of none."""
    likeliest = int(np.argmax(probabilities))
    verdict = [] if outputs == "number" else [text_cell(class_names[likeliest]), f"{probabilities[likeliest]:.6f}"]
    known = [] if actual is None else [text_cell(actual)]
    return [text_cell(image), *known, *verdict, *(f"{value:.6f}" for value in probabilities)]


def _logits(model: Model, fitted: list[Image.Image]) -> np.ndarray:
    with enough_memory(f"classify one image with {model.name}", "use a smaller model"):
        return np.concatenate(list(in_fitting_batches(fitted, partial(_logits_at_once, model))))


@torch.inference_mode()
def _logits_at_once(model: Model, fitted: Sequence[Image.Image]) -> np.ndarray:
    pixels = torch.from_numpy(np.stack([np.array(image) for image in fitted])).to(model.device)
    logits = model.forward(model.normalise(pixels))[1]
    if logits is None:
        raise ModelError(f"{model.name} has no classifier: fine-tune it first, or choose a fine-tuned checkpoint.")
    return logits.float().cpu().numpy()
