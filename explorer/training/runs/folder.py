"""A run's folder, the one channel between a trainer and whoever watches it."""

import json
import os
import time
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path, PurePath
from typing import Any

from explorer.errors import TrainingError
from explorer.training.runs.process import is_alive, process_start
from explorer.training.runs.records import NUMBER, PROCESS, fits

ACTIVE = ("starting", "queued", "running")
ENDED = ("finished", "stopped", "failed", "interrupted")
CHECKS = ("", "reading", "loading")  # phases in which data, model and plan are checked, and nothing is learnt yet
LARGEST_FILE = 2**26  # bytes of a JSON file of a run; one of 100,000 predictions has a quarter of it
STATE = {
    "status": str, "phase": str, "place": (int, None), "progress": NUMBER, "epoch": int, "epochs": int,
    "images_per_second": (*NUMBER, None), "seconds_left": (*NUMBER, None), "error": (str, None),
    "checkpoint": (PurePath, None), "updated": NUMBER,
}  # fmt: skip


@dataclass(frozen=True)
class State:
    """Where a run stands: what state.json holds, plus what only a look at the process can tell.

    status: starting, queued, running, finished, stopped, failed, or interrupted (its process is gone).
    phase, while running: reading, caching, training, saving. place: 1 is the next to run.
    """

    status: str
    phase: str = ""
    place: int | None = None
    progress: float = 0.0  # share of the phase
    epoch: int = 0  # finished epochs
    epochs: int = 0
    images_per_second: float | None = None
    seconds_left: float | None = None
    error: str | None = None
    checkpoint: str | None = None
    pid: int | None = None
    process_started: str | None = None  # process_start(pid), which names one process for good: pids come back
    updated: float = 0.0

    @property
    def active(self) -> bool:
        return self.status in ACTIVE


class RunFolder:
    """The files of one run; every write of JSON is atomic, so a reader never sees half a file."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.name = self.path.name

    config = property(lambda self: self.path / "config.json")
    dataset = property(lambda self: self.path / "dataset.json")
    events = property(lambda self: self.path / "events.jsonl")
    state = property(lambda self: self.path / "state.json")
    metrics = property(lambda self: self.path / "metrics.json")
    predictions = property(lambda self: self.path / "predictions.json")
    best = property(lambda self: self.path / "best.safetensors")
    last = property(lambda self: self.path / "last.safetensors")
    epochs = property(lambda self: self.path / "epochs")
    resume = property(lambda self: self.path / "resume.pt")
    process = property(lambda self: self.path / "process.json")
    log = property(lambda self: self.path / "log.txt")
    cache = property(lambda self: self.path / "cache")
    images = property(lambda self: self.path / "images")
    stop_request = property(lambda self: self.path / "stop")

    @property
    def refused(self) -> bool:
        """Whether the run failed while what it was given was checked: nothing of it is worth keeping."""
        if not self.state.is_file() or self.resume.exists():
            return False
        state = self.read_state()
        return state.status in ("failed", "interrupted") and state.phase in CHECKS

    def write_state(self, state: State) -> State:
        """Write state.json, stamped with this process and the time; returns what was written."""
        me = os.getpid()
        state = replace(state, pid=me, process_started=process_start(me), updated=time.time())
        write_json(self.state, asdict(state))
        return state

    def read_state(self) -> State:
        """The run's state now, interrupted where its process is gone; TrainingError where there is no run."""
        state = self._written_state()
        while state.active and not is_alive(state.pid, state.process_started):
            again = self._written_state()
            if again == state:
                return replace(state, status="interrupted", error=state.error or self._last_words())
            state = again  # the process wrote its last words just before it ended
        return state

    def _written_state(self) -> State:
        if not self.state.is_file():
            raise TrainingError(f"There is no run named {self.name!r} in {self.path.parent}.")
        state = as_state(read_json(self.state))
        if state is None:
            raise TrainingError(f"state.json of the run {self.name!r} is damaged: delete the run.")
        if state.status == "starting" and self.process.is_file():
            state = replace(state, **self._launched())  # the trainer hasn't written anything itself yet
        return state

    def _launched(self) -> dict[str, Any]:
        """The process that was started for the run, as fields of State; none where process.json is damaged."""
        try:
            process = read_json(self.process)
        except TrainingError:
            process = None
        return {key: process[key] for key in PROCESS} if process and fits(process, PROCESS) else {}

    def _last_words(self) -> str:
        """Why a process may be gone: the last line it logged if it was an error, else that it was killed."""
        lines = self.log.read_text(errors="replace").strip().splitlines() if self.log.is_file() else []
        if lines and lines[-1].startswith("error: "):
            return lines[-1].removeprefix("error: ")
        return "The training process is gone: it was killed, or the machine ran out of memory or was restarted."


def as_state(value: Any) -> State | None:
    """The State of what state.json holds, None where that is none; settings of other releases are passed over."""
    known = {field.name for field in fields(State)}
    if not isinstance(value, dict) or value.get("status") not in (*ACTIVE, *ENDED):
        return None
    given = {key: part for key, part in value.items() if key in known}
    state = State(**given)
    return state if fits(asdict(state), STATE) and 0 <= state.progress <= 1 else None


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> Any:
    """The value of a JSON file of a run; raises TrainingError for one that is missing, damaged or too large."""
    where = f"{path.name} of the run {path.parent.name!r}"
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise TrainingError(f"{where} is too large to be what a run writes.")
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(f"{where} can't be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:  # no text, no JSON, or nested without end
        raise TrainingError(f"{where} is damaged: it holds no JSON.") from error
