"""The training processes: identify them, and queue them.

A pid comes back, and a process's time of start moves with the clock. One job trains at a time on a machine: a line of
tickets, and a lock that the system lets go of when a job dies. Several machines may share one folder of tickets; of
another machine's process only its ticket tells, which it touches every few seconds.
"""

import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import psutil
from filelock import FileLock, Timeout

from explorer import paths
from explorer.errors import TrainingError
from explorer.training.runs.json_files import fits, read_json, write_json

POLL = 0.3  # seconds
HEARTBEAT, FRESH = 5, 60  # seconds: between two touches of a ticket, and for which one proves life
MOST_DIGITS = 10  # of a pid on any system
_PROC = Path("/proc")
BOOT_ID = _PROC / "sys/kernel/random/boot_id"
_NAMESPACE = _PROC / "self/ns/pid"
_STATE, _START_TICKS = 0, 19  # fields of /proc/PID/stat, counted after the name
PROCESS = {"pid": int, "process_started": str}
_TICKET = {"run": PurePath, **PROCESS}


def process_start(pid: int) -> str | None:
    """What distinguishes this process from all others with its pid; None where it is gone or a zombie.

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
    return f"{this_machine()} {fields[_START_TICKS]}"


def this_machine() -> str:
    """An identifier of this machine since its last start; its name where the system has nothing better.

    A container counts as a machine: it doesn't see the processes of another, though both have the host's boot id.
    """
    if not BOOT_ID.is_file():
        return platform.node()
    boot = BOOT_ID.read_text().strip()
    try:
        return f"{boot}-{_NAMESPACE.readlink().name.strip('pid:[]')}"
    except OSError:  # a system that doesn't tell
        return boot


def runs_elsewhere(started: Any) -> bool:
    """Whether a process of that process_start() belongs to another machine, or to this one before its last start."""
    machine = started.rpartition(" ")[0] if isinstance(started, str) else ""
    return bool(machine) and BOOT_ID.is_file() and machine != this_machine()


def is_alive(pid: Any, started: Any) -> bool:
    """Whether that very process still runs; False for values that are no pid and no process_start()."""
    if type(pid) is not int or not 0 < pid < 10**MOST_DIGITS or not isinstance(started, str):
        return False
    return process_start(pid) == started


class _Ticket(NamedTuple):
    """A job in the queue: its file, its run, and the process_start() of its process."""

    file: Path
    run: Path
    started: str

    @property
    def machine(self) -> str:
        return self.started.rpartition(" ")[0] if runs_elsewhere(self.started) else this_machine()


class MachineQueue:
    """The queue of jobs of this user on this machine, kept as files in one folder.

    The folder is EXPLORER_QUEUE, or one in the system's temporary folder; machines may share it. Each job holds a
    ticket named after its time of arrival; the first of a machine whose process lives may take its lock and run.
    """

    def __init__(self):
        self.folder = paths.queue()
        self.folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def turn(self, run: Path, waiting: Callable[[int], None]) -> Iterator[None]:
        """Wait for this job's turn, calling waiting(place) meanwhile (1 is next); it may raise to leave the queue."""
        ticket, content = self._take_ticket(run)
        lock = FileLock(self.folder / f"running-{this_machine()}.lock")
        try:
            with _touched(ticket, content):
                while not (self._is_first(ticket) and _try_lock(lock)):
                    waiting(max(1, self.place(run) or 1))
                    time.sleep(POLL)
                yield
        finally:
            ticket.unlink(missing_ok=True)
            lock.release()

    def place(self, run: Path) -> int | None:
        """Jobs of its machine before that run: 0 where it is running or about to, None where it isn't queued."""
        line, run = self._line(), run.resolve()
        index = next((index for index, ticket in enumerate(line) if ticket.run == run), None)
        return None if index is None else sum(ticket.machine == line[index].machine for ticket in line[:index])

    def _is_first(self, ticket: Path) -> bool:
        mine = (other.file for other in self._line() if other.machine == this_machine())
        return ticket == next(mine, ticket)

    def _take_ticket(self, run: Path) -> tuple[Path, dict[str, Any]]:
        me = os.getpid()
        content = {"run": str(run.resolve()), "pid": me, "process_started": process_start(me)}
        with FileLock(self.folder / "tickets.lock"):  # so that tickets appear in the order of their times
            ticket = self.folder / f"{time.time_ns():020d}-{me}.json"
            write_json(ticket, content)
        return ticket, content

    def _line(self) -> list[_Ticket]:
        """Tickets of living processes in order of arrival; those of dead ones are deleted."""
        with FileLock(self.folder / "tickets.lock"):
            living = []
            for file in sorted(self.folder.glob("[0-9]*.json")):
                ticket = _read_ticket(file)
                if ticket is None:
                    file.unlink(missing_ok=True)
                else:
                    living.append(ticket)
        return living


@contextmanager
def _touched(ticket: Path, content: dict[str, Any]) -> Iterator[None]:
    """Inside the block, show other machines every few seconds that this process lives.

    They delete the ticket of one that was cut off or asleep for long; then it takes its old place again.
    """
    over = threading.Event()

    def touch() -> None:
        while not over.wait(HEARTBEAT):
            with suppress(OSError):
                os.utime(ticket) if ticket.is_file() else write_json(ticket, content)

    beat = threading.Thread(target=touch, name="heartbeat", daemon=True)
    beat.start()
    try:
        yield
    finally:
        over.set()
        beat.join()  # so that it writes no ticket after the last one was given back


def refuse_live(run: Path) -> None:
    """Raise TrainingError where a living process of this machine works on that run, whatever its files say."""
    if MachineQueue().place(run) is not None:
        raise TrainingError(f"A training process works on the run {run.name!r}: wait until it ends, or end it.")


def _read_ticket(file: Path) -> _Ticket | None:
    """A ticket; None where its process is gone, or it is none."""
    try:
        holder = read_json(file)
        touched = file.stat().st_mtime
    except (OSError, TrainingError):
        return None
    if not fits(holder, _TICKET):
        return None
    started = holder["process_started"]
    lives = time.time() - touched < FRESH if runs_elsewhere(started) else is_alive(holder["pid"], started)
    return _Ticket(file, Path(holder["run"]), started) if lives else None


def _try_lock(lock: FileLock) -> bool:
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    return True
