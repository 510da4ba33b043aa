"""What a person sees while finetune() runs: a bar on a terminal, else a line for every phase and epoch, on stderr."""

import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from explorer.training.runs.folder import State
    from explorer.training.runs.reporter import Progress

REDRAW = 0.1  # seconds between two pictures of the bar while nothing but numbers change

Place = tuple[str, str, int | None, int]  # status, phase, place in the queue, finished epochs


class Bar:
    """A progress bar for the phases of a run; silent where stderr is no terminal."""

    def __init__(self, name: str):
        from tqdm import tqdm

        shape = "{desc} {percentage:3.0f}%|{bar:30}|{postfix}"
        self._bar = tqdm(total=1.0, desc=name, bar_format=shape, disable=None, leave=False)
        self._told: Place | None = None
        self._drawn = 0.0

    def show(self, state: "State") -> None:
        self._bar.set_description_str(state.phase or state.status, refresh=False)
        self._bar.set_postfix_str(numbers(state), refresh=False)
        self._bar.n = state.progress
        now = state.status, state.phase, state.place, state.epoch
        # Not update(): it draws nothing while the number is below the last one drawn, which it is in every new phase.
        if now != self._told or time.monotonic() - self._drawn > REDRAW:
            self._told, self._drawn = now, time.monotonic()
            self._bar.refresh()

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()


class Lines:
    """A line for every phase and finished epoch, for notebooks, pipes and logs; none in the `silent` phases."""

    def __init__(self, name: str, silent: Collection[str] = ()):
        self._name, self._silent = name, silent
        self._told: Place | None = None

    def show(self, state: "State") -> None:
        now = state.status, state.phase, state.place, state.epoch
        if now != self._told and state.phase not in self._silent:
            self._told = now
            told = ", ".join(part for part in (state.phase or state.status, numbers(state)) if part)
            with suppress(OSError):  # a reader that went away or a full disk under a log ends no training
                print(f"{self._name}: {told}", file=sys.stderr, flush=True)


def numbers(state: "State") -> str:
    """ "epoch 3 of 10, 120 images/s, 8 s left"."""
    place = f"place {state.place} in the queue" if state.place else ""
    epoch = f"epoch {state.epoch} of {state.epochs}" if state.phase == "training" else ""
    rate = f"{state.images_per_second:,.0f} images/s" if state.images_per_second else ""
    left = f"{max(1, state.seconds_left):,.0f} s left" if state.seconds_left else ""
    saved = f"saved as {state.checkpoint}" if state.checkpoint else ""
    return ", ".join(part for part in (place, epoch, rate, left, saved) if part)


@contextmanager
def told(name: str, progress: "Progress | bool", silent: Collection[str] = ()) -> "Iterator[Progress | None]":
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
