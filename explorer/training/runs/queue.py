"""One training job at a time on a machine: a line of tickets, and a lock that the system lets go of when a job dies."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from explorer import paths
from explorer.training.runs.folder import is_alive, read_json, write_json

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
        runs = [Path(read_json(ticket)["run"]) for ticket in self._line()]
        return runs.index(run.resolve()) if run.resolve() in runs else None

    def _take_ticket(self, run: Path) -> Path:
        me = psutil.Process()
        with FileLock(self.folder / "tickets.lock"):  # so that tickets appear in the order of their times
            ticket = self.folder / f"{time.time_ns():020d}-{me.pid}.json"
            write_json(ticket, {"run": str(run.resolve()), "pid": me.pid, "process_started": me.create_time()})
        return ticket

    def _line(self) -> list[Path]:
        """Tickets of living processes in order of arrival; those of dead ones are thrown away."""
        with FileLock(self.folder / "tickets.lock"):
            living = []
            for ticket in sorted(self.folder.glob("[0-9]*.json")):
                holder = read_json(ticket)
                if is_alive(holder["pid"], holder["process_started"]):
                    living.append(ticket)
                else:
                    ticket.unlink(missing_ok=True)
        return living


def _acquired(lock: FileLock) -> bool:
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    return True
