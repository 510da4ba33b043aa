"""The log of a run, one JSON object a line: appended by the trainer, read on from any place by everyone else.

Types of events: "start" (names, counts), "baseline" (metrics before the first epoch), "step" (epoch, step, loss, lr),
"epoch" (epoch, seconds, images_per_second, seconds_left, lr, best, and train_ and val_ loss, accuracy, f1_macro,
f1_weighted), "end" (status). Epochs and steps count from 1; steps go on counting over the epochs.
"""

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class EventLog:
    """Appends events to a file; every line is on disk before emit() returns, so a kill loses none."""

    def __init__(self, path: Path):
        self._file = path.open("a", encoding="utf-8")

    def emit(self, type: str, **values: Any) -> None:
        self._file.write(json.dumps({"type": type, "time": time.time(), **values}) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def read_events(path: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Events after byte `offset`, and the offset to go on from; a last line still being written waits for next time.

    Where the file has become shorter than offset (a resumed run drops its unfinished epoch), it is read from the start.
    """
    if not path.is_file():
        return [], 0
    with path.open("rb") as file:
        if offset > path.stat().st_size:
            offset = 0
        file.seek(offset)
        whole, newline, _ = file.read().rpartition(b"\n")
    return [json.loads(line) for line in whole.splitlines()], offset + len(whole) + len(newline)


def rewind(path: Path, epoch: int) -> None:
    """Drop what happened after `epoch` finished epochs, so that a resumed run logs it once."""
    events, _ = read_events(path)
    kept = [event for event in events if event["type"] != "end" and event.get("epoch", 0) <= epoch]
    partial = path.with_suffix(".partial")
    partial.write_text("".join(json.dumps(event) + "\n" for event in kept), encoding="utf-8")
    partial.replace(path)


def epochs_of(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The epoch events alone, without their type and time: one row an epoch."""
    return [
        {key: value for key, value in event.items() if key not in ("type", "time")}
        for event in events
        if event["type"] == "epoch"
    ]
