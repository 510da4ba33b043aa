"""What a trainer tells the world: state.json, events.jsonl, TensorBoard, and a callback for a progress bar."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from explorer.errors import TrainingError
from explorer.training.loop import Step
from explorer.training.runs.events import EventLog
from explorer.training.runs.folder import RunFolder, State

QUIET = 0.3  # seconds between two writes of state.json while nothing but numbers change

Progress = Callable[[State], None]


class Reporter:
    """Writes for the main process; with active=False (the other processes of a launch) it only keeps the state."""

    def __init__(self, folder: RunFolder, active: bool, epochs: int, progress: Progress | None, tensorboard: bool):
        self.folder, self.active, self.progress = folder, active, progress
        self.state = State("running", epochs=epochs)
        self._written, self._phase_began = 0.0, time.monotonic()
        self._events = EventLog(folder.events) if active else None
        self._board = _tensorboard(folder) if active and tensorboard else None

    def update(self, now: bool = False, **changes: Any) -> None:
        """Change the state; it is written when its status or phase changes, with now=True, or after a while.

        A new phase begins without speed and time left: those of the phase before say nothing about it.
        """
        if changes.get("phase", self.state.phase) != self.state.phase:
            changes = {"images_per_second": None, "seconds_left": None, **changes}
            self._end_phase()
        state = replace(self.state, **changes)
        news = now or (state.status, state.phase, state.place) != (
            self.state.status,
            self.state.phase,
            self.state.place,
        )
        self.state = state
        if self.active and (news or time.monotonic() - self._written > QUIET):
            self._written = time.monotonic()
            self.state = self.folder.write_state(state)
        if self.active and self.progress:
            self.progress(self.state)

    def _end_phase(self) -> None:
        """Log how long the phase took, from which later estimates learn."""
        now = time.monotonic()
        if self.state.phase:
            self.emit("phase", phase=self.state.phase, seconds=now - self._phase_began)
        self._phase_began = now

    def count(self, done: int, total: int, began: float) -> None:
        """Progress of a phase that goes through `total` images, begun at perf_counter() `began`."""
        rate = done / max(1e-9, time.perf_counter() - began)
        left = (total - done) / rate if rate else None
        self.update(progress=done / max(1, total), images_per_second=rate, seconds_left=left)

    def emit(self, type: str, **values: Any) -> None:
        if self._events:
            self._events.emit(type, **values)

    def step(self, epoch: int, step: Step) -> None:
        self.emit("step", epoch=epoch, step=step.number, loss=step.loss, lr=step.lr)
        if self._board:
            self._board.add_scalar("loss/step", step.loss, step.number)
            self._board.add_scalar("lr", step.lr, step.number)

    def epoch(self, values: dict[str, Any]) -> None:
        self.emit("epoch", **values)
        if self._board:
            for key, value in values.items():
                side, _, name = key.partition("_")
                if side in ("train", "val"):
                    self._board.add_scalar(f"{name}/{side}", value, values["epoch"])

    def close(self) -> None:
        for log in (self._events, self._board):
            if log:
                log.close()


def _tensorboard(folder: RunFolder):
    try:
        from torch.utils.tensorboard import SummaryWriter  # an extra package, needed for this option alone
    except ImportError as error:
        raise TrainingError("TensorBoard logs need one more package: pip install tensorboard.") from error
    return SummaryWriter(str(folder.path / "tensorboard"))
