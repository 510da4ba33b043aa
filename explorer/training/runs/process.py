"""Which process is which: pids come back, and a process's time of start moves with the clock."""

from pathlib import Path
from typing import Any

import psutil

MOST_DIGITS = 10  # of a pid on any system
_PROC = Path("/proc")
_BOOT_ID = _PROC / "sys/kernel/random/boot_id"
_STATE, _START_TICKS = 0, 19  # fields of /proc/PID/stat, counted after the name


def process_start(pid: int) -> str | None:
    """What tells this process from all others that ever had its pid; None where it is gone or waits to be collected.

    It is the same whoever asks, and whatever happens to the clock: on Linux the boot and the ticks from that to the
    process's start. psutil's create_time() would move with every step of the clock.
    """
    if _BOOT_ID.is_file():
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
    return f"{_BOOT_ID.read_text().strip()} {fields[_START_TICKS]}"


def is_alive(pid: Any, started: Any) -> bool:
    """Whether that very process still runs; False for values that are no pid and no process_start()."""
    if type(pid) is not int or not 0 < pid < 10**MOST_DIGITS or not isinstance(started, str):
        return False
    return process_start(pid) == started
