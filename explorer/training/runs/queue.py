"""One training job at a time on a machine: a line of tickets, and a lock that the system lets go of when a job dies."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from explorer import paths
from explorer.errors import TrainingError
from explorer.training.runs.folder import RunFolder, read_json, write_json
from explorer.training.runs.process import is_alive, process_start
from explorer.training.runs.records import TICKET, fits

POLL = 0.3  # seconds


class MachineQueue:
    """The line of jobs of this user on this machine, kept as files in one folder.

    The folder is EXPLORER_QUEUE, or one in the system's temporary folder. Each job holds a ticket named after its time
    of arrival; the first ticket whose process lives may take the lock and run.
    """

    def __init__(self, folder: Path | None = None):
        self.folder = folder or paths.queue()
        self.folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def turn(self, run: Path, waiting: Callable[[int], None]) -> Iterator[None]:
        """Wait for this job's turn, calling waiting(place) meanwhile (1 is next); it may raise to leave the line."""
        ticket = self._take_ticket(run)
        lock = FileLock(self.folder / "running.lock")
        try:
            while not (ticket == next(iter(self._line()), ticket) and _acquired(lock)):
                waiting(max(1, self.place(run) or 1))
                time.sleep(POLL)
            yield
        finally:
            ticket.unlink(missing_ok=True)
            lock.release()

    def place(self, run: Path) -> int | None:
        """How many jobs stand before that run: 0 where it is running or about to, None where it isn't in the line."""
        runs = list(self._line().values())
        return runs.index(run.resolve()) if run.resolve() in runs else None

    def _take_ticket(self, run: Path) -> Path:
        me = os.getpid()
        with FileLock(self.folder / "tickets.lock"):  # so that tickets appear in the order of their times
            ticket = self.folder / f"{time.time_ns():020d}-{me}.json"
            write_json(ticket, {"run": str(run.resolve()), "pid": me, "process_started": process_start(me)})
        return ticket

    def _line(self) -> dict[Path, Path]:
        """{ticket: its run} of living processes in order of arrival; those of dead ones are thrown away."""
        with FileLock(self.folder / "tickets.lock"):
            living = {}
            for ticket in sorted(self.folder.glob("[0-9]*.json")):
                run = _run_of(ticket)
                if run is None:
                    ticket.unlink(missing_ok=True)
                else:
                    living[ticket] = run
        return living


def refuse_live(folder: RunFolder) -> None:
    """Raise TrainingError where a living process of this machine works on that run, whatever its files say."""
    if MachineQueue().place(folder.path) is not None:
        raise TrainingError(f"A training process works on the run {folder.name!r}: wait until it ends, or end it.")


def _run_of(ticket: Path) -> Path | None:
    """The run that a ticket stands for; None where its process is gone, or it is no ticket."""
    try:
        holder = read_json(ticket)
    except TrainingError:
        return None
    if not fits(holder, TICKET) or not is_alive(holder["pid"], holder["process_started"]):
        return None
    return Path(holder["run"])


def _acquired(lock: FileLock) -> bool:
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    return True
