"""A trainer's reports: state.json, events.jsonl, TensorBoard, and a bar or lines on stderr."""

import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from explorer.errors import TrainingError
from explorer.training.runs.events import EventLog, Step
from explorer.training.runs.folder import RunFolder, State
from explorer.words import percent

QUIET = 0.3  # seconds between two writes of state.json while nothing but numbers change
LATER = 15.0  # seconds after which a line says how far a phase is
REDRAW = 0.1  # seconds between two pictures of the bar while nothing but numbers change

Place = tuple[str, str, int | None, int]  # status, phase, place in the queue, finished epochs

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


class Bar:
    """A progress bar for the phases of a run; silent where stderr is no terminal."""

    def __init__(self, name: str):
        from tqdm import tqdm

        shape = "{desc} {percentage:3.0f}%|{bar:30}|{postfix}"
        self._bar = tqdm(total=1.0, desc=name, bar_format=shape, disable=None, leave=False)
        self._shown: Place | None = None
        self._drawn = 0.0

    def show(self, state: State) -> None:
        self._bar.set_description_str(state.phase or state.status, refresh=False)
        self._bar.set_postfix_str(numbers(state), refresh=False)
        self._bar.n = state.progress
        now = state.status, state.phase, state.place, state.epoch
        # Not update(): it draws nothing while the number is below the last one drawn, which it is in every new phase.
        if now != self._shown or time.monotonic() - self._drawn > REDRAW:
            self._shown, self._drawn = now, time.monotonic()
            self._bar.refresh()

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()


class Lines:
    """A line for every phase and finished epoch, for notebooks, pipes and logs; none in the `silent` phases.

    In a phase that takes long, a line every LATER seconds says how far it is.
    """

    def __init__(self, name: str, silent: Collection[str] = ()):
        self._name, self._silent = name, silent
        self._shown: Place | None = None
        self._printed = 0.0

    def show(self, state: State) -> None:
        now, late = (state.status, state.phase, state.place, state.epoch), time.monotonic() - self._printed > LATER
        if (now != self._shown or (late and state.progress)) and state.phase not in self._silent:
            done = percent(state.progress, 0) if now == self._shown else ""
            self._shown, self._printed = now, time.monotonic()
            line = ", ".join(part for part in (state.phase or state.status, done, numbers(state)) if part)
            with suppress(OSError):  # a reader that went away or a full disk under a log ends no training
                print(f"{self._name}: {line}", file=sys.stderr, flush=True)


def numbers(state: State) -> str:
    """ "epoch 3 of 10, 120 images/s, 8 s left"."""
    place = f"place {state.place} in the queue" if state.place else ""
    epoch = f"epoch {state.epoch} of {state.epochs}" if state.phase == "training" else ""
    rate = f"{state.images_per_second:,.0f} images/s" if state.images_per_second else ""
    left = f"{max(1, state.seconds_left):,.0f} s left" if state.seconds_left else ""
    saved = f"saved as {state.checkpoint}" if state.checkpoint else ""
    return ", ".join(part for part in (place, epoch, rate, left, saved) if part)


@contextmanager
def progress_display(name: str, progress: Progress | bool, silent: Collection[str] = ()) -> Iterator[Progress | None]:
    """What finetune() calls with its state: that function; for True a bar or lines for that run; for False None.

    silent: phases that get no line.
    """
    if progress is True and sys.stderr.isatty():
        with Bar(name) as bar:
            yield bar.show
    elif progress is True:
        yield Lines(name, silent).show
    else:
        yield progress or None
