"""The log of a run, one JSON object per line: appended by the trainer, followed by everyone else.

Types of events: "phase" (a phase that is over, its seconds), "start" (counts), "baseline" (metrics before the first
epoch), "step" (epoch, step, loss, lr), "epoch" (epoch, seconds, images_per_second, seconds_left, lr, best, and train_
and val_ loss, accuracy, f1_macro, f1_weighted), "end" (status). Epochs and steps count from 1; steps go on counting
over the epochs.
"""

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from explorer.training.runs.records import is_event


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

    A resumed run writes its log anew, without the epoch that was not finished, and goes on: then all of it is read
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
            whole, newline, _ = file.read().rpartition(b"\n")
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
    partial = path.with_suffix(".partial")
    partial.write_text("".join(json.dumps(event) + "\n" for event in kept), encoding="utf-8")
    partial.replace(path)


def epochs_of(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The epoch events alone, without their type and time: one row per epoch."""
    return [
        {key: value for key, value in event.items() if key not in ("type", "time")}
        for event in events
        if event["type"] == "epoch"
    ]
