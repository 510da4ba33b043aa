"""What the files of a run must hold: shapes of JSON values, against which a file is checked when it is read.

A shape is a type, a tuple of shapes of which one must fit, a list of one shape for all its items, or a dict of shapes
for the keys that must be there; other keys may be there, too.
"""

import math
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

LARGEST = 2**53  # integers that a float still tells apart
LONGEST_PATH = 4096  # bytes
NUMBER = (int, float)
LOSS = "loss"  # shape of a number that may be infinite or none


def fits(value: Any, shape: Any) -> bool:
    """Whether a JSON value has that shape; numbers finite, text such as a page takes."""
    if isinstance(shape, tuple):
        return any(fits(value, one) for one in shape)
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(item, shape[0]) for item in value)
    if isinstance(shape, Mapping):
        return isinstance(value, dict) and all(key in value and fits(value[key], part) for key, part in shape.items())
    if shape is None:
        return value is None
    if shape is PurePath:
        return fits(value, str) and _is_path(value)
    if shape == LOSS:
        return type(value) is float or fits(value, int)
    if type(value) is not shape:
        return False
    if shape is str:
        return not re.search("[\ud800-\udfff]", value)  # halves of characters, which no page and no file takes
    return shape not in NUMBER or (math.isfinite(value) and abs(value) <= LARGEST)


def _is_path(text: str) -> bool:
    """Whether the system can be asked for that path: it raises errors for others."""
    parts = re.split(r"[/\\]", text)
    return "\0" not in text and len(text.encode()) < LONGEST_PATH and all(len(part.encode()) < 256 for part in parts)


_INTERVALS = {key: [NUMBER] for key in ("accuracy", "f1_macro", "f1_weighted")}
_CLASS = {"class": str, "precision": NUMBER, "recall": NUMBER, "f1": NUMBER, "support": int}
_REPORT = {
    "accuracy": NUMBER, "f1_macro": NUMBER, "f1_weighted": NUMBER, "loss": LOSS, "class_names": [str],
    "confusion_matrix": [[int]], "per_class": [_CLASS], "intervals": _INTERVALS,
}  # fmt: skip
METRICS = {**_REPORT, "baseline": _REPORT, "best_epoch": int, "knn_accuracy": NUMBER}
PREDICTIONS = [{"image": PurePath, "name": str, "actual": str, "predicted": str, "probability": NUMBER}]
PROCESS = {"pid": int, "process_started": str}
TICKET = {"run": PurePath, **PROCESS}

_SIDES = {
    f"{side}_{key}": kind
    for side in ("train", "val")
    for key, kind in {"loss": LOSS, "accuracy": NUMBER, "f1_macro": NUMBER}.items()
}
EVENTS: dict[str, dict[str, Any]] = {
    "start": {"steps_an_epoch": int, "train_images": int, "val_images": int},
    "baseline": {"metrics": _REPORT, "knn_accuracy": NUMBER},
    "step": {"epoch": int, "step": int, "loss": LOSS, "lr": NUMBER},
    "epoch": {"epoch": int, "best": bool, "seconds": NUMBER, **_SIDES},
    "phase": {"phase": str, "seconds": NUMBER},
    "end": {"status": str},
}


def is_event(value: Any) -> bool:
    """Whether it is a whole event of a log: of a known type, with what is read of that type."""
    if not isinstance(value, dict) or not isinstance(value.get("type"), str) or value["type"] not in EVENTS:
        return False
    if not fits(value, EVENTS[value["type"]]):
        return False
    if value["type"] == "start":
        return value["steps_an_epoch"] > 0
    return value["type"] != "baseline" or is_report(value["metrics"])


def is_report(value: Any) -> bool:
    """Whether it holds the scores of one model on one set, its tables all of one number of classes."""
    if not fits(value, _REPORT):
        return False
    classes, matrix = len(value["class_names"]), value["confusion_matrix"]
    square = len(matrix) == classes and all(len(row) == classes for row in matrix)
    pairs = all(len(value["intervals"][key]) == 2 for key in _INTERVALS)
    return square and pairs and len(value["per_class"]) == classes


def is_metrics(value: Any) -> bool:
    """Whether it holds what metrics.json does."""
    return fits(value, METRICS) and is_report(value) and is_report(value["baseline"])
