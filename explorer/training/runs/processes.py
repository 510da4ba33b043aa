"""The training processes of this machine: which is which, and whose turn it is.

A pid comes back, and a process's time of start moves with the clock. One job trains at a time: a line of tickets, and a
lock that the system lets go of when a job dies.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any

import psutil
from filelock import FileLock, Timeout

from explorer import paths
from explorer.errors import TrainingError
from explorer.training.runs.json_files import fits, read_json, write_json

POLL = 0.3  # seconds
MOST_DIGITS = 10  # of a pid on any system
_PROC = Path("/proc")
BOOT_ID = _PROC / "sys/kernel/random/boot_id"
_STATE, _START_TICKS = 0, 19  # fields of /proc/PID/stat, counted after the name
PROCESS = {"pid": int, "process_started": str}
_TICKET = {"run": PurePath, **PROCESS}


def process_start(pid: int) -> str | None:
    """What tells this process from all others that ever had its pid; None where it is gone or waits to be collected.

    It is the same whoever asks, and whatever happens to the clock: on Linux the boot and the ticks from that to the
    process's start. psutil's create_time() would move with every step of the clock.
    """
    if BOOT_ID.is_file():
        return _linux_start(pid)
    try:
        process = psutil.Process(pid)
        # psutil builds the hash of a process from its pid and the system's own record of its start, for just this use.
        return None if process.status() == psutil.STATUS_ZOMBIE else str(hash(process))
    except psutil.NoSuchProcess:
        return None


def _linux_start(pid: int) -> str | None:
    try:
        stat = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before them may hold spaces and parentheses
    if fields[_STATE] in "ZX":
        return None
    return f"{BOOT_ID.read_text().strip()} {fields[_START_TICKS]}"


def is_alive(pid: Any, started: Any) -> bool:
    """Whether that very process still runs; False for values that are no pid and no process_start()."""
    if type(pid) is not int or not 0 < pid < 10**MOST_DIGITS or not isinstance(started, str):
        return False
    return process_start(pid) == started


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
            while not (ticket == next(iter(self._line()), ticket) and _try_lock(lock)):
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


def refuse_live(run: Path) -> None:
    """Raise TrainingError where a living process of this machine works on that run, whatever its files say."""
    if MachineQueue().place(run) is not None:
        raise TrainingError(f"A training process works on the run {run.name!r}: wait until it ends, or end it.")


def _run_of(ticket: Path) -> Path | None:
    """The run that a ticket stands for; None where its process is gone, or it is no ticket."""
    try:
        holder = read_json(ticket)
    except TrainingError:
        return None
    if not fits(holder, _TICKET) or not is_alive(holder["pid"], holder["process_started"]):
        return None
    return Path(holder["run"])


def _try_lock(lock: FileLock) -> bool:
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    return True
