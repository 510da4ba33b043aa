"""The log of a run, one JSON object per line: appended by the trainer, followed by everyone else.

Types of events: "phase" (a phase that is over, its seconds), "start" (how many images, steps and processes), "baseline"
(metrics before the first epoch), "step" (epoch, step, loss, lr), "epoch" (epoch, seconds, images_per_second,
seconds_left, lr, best, and train_ and val_ loss, accuracy, f1_macro, f1_weighted), "end" (status). Epochs and steps
count from 1; steps go on counting over the epochs.
"""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from explorer.files import write_whole
from explorer.training.runs.json_files import LOSS, NUMBER, fits

LARGEST_LOG = 2**28  # bytes of a log that are read; a million steps have half of it
_INTERVALS = {key: [NUMBER] for key in ("accuracy", "f1_macro", "f1_weighted")}
_CLASS = {"class": str, "precision": NUMBER, "recall": NUMBER, "f1": NUMBER, "support": int}
REPORT = {
    "accuracy": NUMBER, "f1_macro": NUMBER, "f1_weighted": NUMBER, "loss": LOSS, "class_names": [str],
    "confusion_matrix": [[int]], "per_class": [_CLASS], "intervals": _INTERVALS,
}  # fmt: skip
_SIDES = {
    f"{side}_{key}": kind
    for side in ("train", "val")
    for key, kind in {"loss": LOSS, "accuracy": NUMBER, "f1_macro": NUMBER}.items()
}
EVENTS: dict[str, dict[str, Any]] = {
    "start": {"steps_an_epoch": int, "train_images": int, "val_images": int},
    "baseline": {"metrics": REPORT, "knn_accuracy": NUMBER},
    "step": {"epoch": int, "step": int, "loss": LOSS, "lr": NUMBER},
    "epoch": {"epoch": int, "best": bool, "seconds": NUMBER, **_SIDES},
    "phase": {"phase": str, "seconds": NUMBER},
    "end": {"status": str},
}


@dataclass(frozen=True)
class Step:
    """One optimizer step: its number counted over all epochs, mean loss over all processes, and peak learning rate."""

    number: int
    loss: float
    lr: float


class EventLog:
    """Appends events to a file; every line is on disk before emit() returns, so a kill loses none."""

    def __init__(self, path: Path):
        self._file = path.open("a", encoding="utf-8")

    def emit(self, type: str, **values: Any) -> None:
        self._file.write(json.dumps({"type": type, "time": time.time(), **values}) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class EventReader:
    """Follows a log that grows: each read parses only what was added. `damaged` counts lines that are no events.

    A resumed run writes its log again, without the epoch that was not finished, and goes on: then all of it is read
    again. Every line tells its time, so the last line read is at its place only where all lines before it are, too.
    """

    def __init__(self, path: Path):
        self._path = path
        self._forget()

    def _forget(self) -> None:
        self._events: list[dict[str, Any]] = []
        self.damaged = 0
        self._end = 0
        self._last = b""

    def read(self) -> list[dict[str, Any]]:
        """All events so far, none where there is no file; a last line still being written waits for next time."""
        if not self._path.is_file():
            self._forget()
            return []
        with self._path.open("rb") as file:
            file.seek(self._end - len(self._last))
            if file.read(len(self._last)) != self._last:
                self._forget()
                file.seek(0)
            whole, newline, _ = file.read(max(0, LARGEST_LOG - self._end)).rpartition(b"\n")
        if newline:
            lines = whole.split(newline)
            found = [event for event in map(_event, lines) if event is not None]
            self._events = [*self._events, *found]
            self.damaged += len(lines) - len(found)
            self._end += len(whole + newline)
            self._last = lines[-1] + newline
        return self._events


def _event(line: bytes) -> dict[str, Any] | None:
    """The event of a line; None where it was cut or holds something else."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if is_event(value) else None


def read_events(path: Path) -> list[dict[str, Any]]:
    """All events of a log, none where there is no file; a last line still being written is left out."""
    return EventReader(path).read()


def rewind(path: Path, epoch: int) -> None:
    """Drop what happened after `epoch` finished epochs, so that a resumed run logs it once."""
    kept = [event for event in read_events(path) if event["type"] != "end" and event.get("epoch", 0) <= epoch]
    write_whole(path, "".join(json.dumps(event) + "\n" for event in kept))


def epochs_of(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The epoch events alone, without their type and time: one row per epoch."""
    return [
        {key: value for key, value in event.items() if key not in ("type", "time")}
        for event in events
        if event["type"] == "epoch"
    ]


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
    if not fits(value, REPORT):
        return False
    classes, matrix = len(value["class_names"]), value["confusion_matrix"]
    square = len(matrix) == classes and all(len(row) == classes for row in matrix)
    pairs = all(len(value["intervals"][key]) == 2 for key in _INTERVALS)
    return square and pairs and len(value["per_class"]) == classes
