"""A run's folder, the one channel between a trainer and whoever watches it: what it holds, and how one is made.

config.json keeps the options and the plan, all that the run's process is given; state.json says where the run stands.
"""

import os
import shutil
import time
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path, PurePath
from typing import Any

from explorer import paths
from explorer.data.changes import NO_CHANGES, Changes
from explorer.errors import TrainingError
from explorer.models import registry
from explorer.models.source import ModelSource
from explorer.training.plan import Plan
from explorer.training.runs.json_files import NUMBER, fits, read_json, write_json
from explorer.training.runs.processes import FRESH, PROCESS, MachineQueue, is_alive, process_start, runs_elsewhere

LAST_WORDS = 2**16  # bytes of a log that are looked at for its last line
ACTIVE = ("starting", "queued", "running")
ENDED = ("finished", "stopped", "failed", "interrupted")
STARTING = 600  # seconds that another machine's process may take until it has a ticket: it imports PyTorch before
CHECKS = ("", "reading", "loading")  # phases in which data, model and plan are checked, and nothing is learnt yet
STATE = {
    "status": str, "phase": str, "place": (int, None), "progress": NUMBER, "epoch": int, "epochs": int,
    "images_per_second": (*NUMBER, None), "seconds_left": (*NUMBER, None), "error": (str, None),
    "checkpoint": (PurePath, None), "updated": NUMBER,
}  # fmt: skip
_SOURCE = {"source": PurePath, "arch": (str, None), "num_heads": (int, None), "grid": (str, None)}
_OPTIONS = {
    "data": PurePath, "model": _SOURCE, "checkpoint": PurePath, "onnx": bool, "tensorboard": bool,
    "stored": (PurePath, None),
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


@dataclass(frozen=True)
class Options:
    """data and model as finetune takes them; checkpoint: the folder to make; onnx and tensorboard: also write these.

    stored: the folder that holds the data as read already (see explorer.data.store), where there is one.
    """

    data: str
    model: ModelSource
    checkpoint: str
    onnx: bool = False
    tensorboard: bool = False
    stored: str | None = None


@dataclass(frozen=True)
class About:
    """The name and notes that a person gave a run; its folder and its checkpoint keep their names."""

    title: str = ""
    note: str = ""


class RunFolder:
    """The files of one run; every write of JSON is atomic, so a reader never sees half a file."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.name = self.path.name

    config = property(lambda self: self.path / "config.json")
    dataset = property(lambda self: self.path / "dataset.json")
    changes = property(lambda self: self.path / "changes.json")
    about = property(lambda self: self.path / "about.json")
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
        """Whether the run failed while its input was checked, so that nothing of it is worth keeping."""
        if not self.state.is_file() or self.resume.exists():
            return False
        state = self.read_state()
        return state.status in ("failed", "interrupted") and state.phase in CHECKS

    def read_about(self) -> About:
        """What about.json holds; nothing where it is absent or damaged."""
        if not self.about.is_file():
            return About()
        try:
            found = read_json(self.about)
        except TrainingError:
            return About()
        return About(found["title"], found["note"]) if fits(found, {"title": str, "note": str}) else About()

    def write_state(self, state: State) -> State:
        """Write state.json, stamped with this process and the time; returns what was written."""
        me = os.getpid()
        state = replace(state, pid=me, process_started=process_start(me), updated=time.time())
        write_json(self.state, asdict(state))
        return state

    def read_state(self) -> State:
        """The run's state now, interrupted where its process is gone; TrainingError where there is no run."""
        state = self._written_state()
        while state.active and not self._is_at_work(state):
            again = self._written_state()
            if again == state:
                return replace(state, status="interrupted", error=state.error or self._last_words())
            state = again  # the process wrote its last words just before it ended
        return state

    def _is_at_work(self, state: State) -> bool:
        """Whether its process lives; one of another machine, which shares this folder, shows that by its ticket."""
        if not runs_elsewhere(state.process_started):
            return is_alive(state.pid, state.process_started)
        patience = STARTING if state.status == "starting" else FRESH
        return time.time() - state.updated < patience or MachineQueue().place(self.path) is not None

    @property
    def is_gone(self) -> bool:
        """Whether there is no run here; one that may not be looked at is there."""
        try:
            self.state.stat()
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False
        return False

    def _written_state(self) -> State:
        if self.is_gone:
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
        """Why a process ended: the last line of its log if that is an error, else that it was killed."""
        lines = _end_of(self.log).strip().splitlines() if self.log.is_file() else []
        if lines and lines[-1].startswith("error: "):
            return lines[-1].removeprefix("error: ")
        return "The training process is gone: it was killed, or the machine ran out of memory or was restarted."


def _end_of(path: Path) -> str:
    """The last lines of a text, however long it is."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - LAST_WORDS))
        return file.read().decode(errors="replace")


def as_state(value: Any) -> State | None:
    """The State of what state.json holds, None where that is none; settings of other releases are passed over."""
    known = {field.name for field in fields(State)}
    if not isinstance(value, dict) or value.get("status") not in (*ACTIVE, *ENDED):
        return None
    given = {key: part for key, part in value.items() if key in known}
    state = State(**given)
    return state if fits(asdict(state), STATE) and 0 <= state.progress <= 1 else None


def default_checkpoint(run_dir: Path) -> Path:
    """Among the models on offer for a run in the runs folder; else checkpoints/<name> beside a folder "runs" that holds
    the run, or a folder inside the run.
    """
    run_dir = run_dir.resolve()
    if run_dir.parent == paths.runs():
        return paths.checkpoints() / run_dir.name
    if run_dir.parent.name == "runs":
        return run_dir.parent.parent / "checkpoints" / run_dir.name
    return run_dir / "checkpoint"


def new_options(
    folder: RunFolder,
    data: str | Path,
    model: ModelSource,
    *,
    checkpoint: str | Path | None = None,
    stored: Path | None = None,
    onnx: bool = False,
    tensorboard: bool = False,
) -> Options:
    """The options of a new run. Paths become absolute: its process may start, or go on, in another folder."""
    path = Path(data)
    target = checkpoint or default_checkpoint(folder.path)
    known = None if stored is None else str(stored)
    source = replace(registry.absolute_source(model), prompts=())  # a run has classes of its own
    return Options(str(path.resolve() if path.exists() else data), source, str(target), onnx, tensorboard, known)


def create_run(folder: RunFolder, options: Options, plan: Plan, changes: Changes = NO_CHANGES) -> None:
    """Make the folder of a new run with its state, config.json and what to change of the data, if anything.

    A run that was refused gives up its name.

    The state comes first, so that a folder without one is never a run whose process was killed just then. Raises
    TrainingError for a name that a run or checkpoint has, and for a folder that holds other files.
    """
    if folder.refused:
        shutil.rmtree(folder.path)
    if folder.state.is_file():
        raise TrainingError(f"There is already a run named {folder.name!r}; choose another name or resume it.")
    there = folder.path.exists()
    if there and any(not path.name.startswith(".state.json.") for path in folder.path.iterdir()):
        raise TrainingError(f"The folder {folder.path} holds other files: name a new folder for the run.")
    target = Path(options.checkpoint)
    if target.exists():  # training must not end by overwriting one
        raise TrainingError(f"There is already a checkpoint named {target.name!r}; choose another name or delete it.")
    folder.path.mkdir(parents=True, exist_ok=there)
    folder.write_state(State("starting", epochs=plan.epochs))
    if changes.entries:
        write_json(folder.changes, changes.to_dict())
    write_config(folder, options, plan)


def write_config(folder: RunFolder, options: Options, plan: Plan) -> None:
    write_json(folder.config, {**asdict(options), "plan": plan.to_dict()})


def read_config(folder: RunFolder) -> tuple[Options, Plan]:
    """What a run was started with; raises TrainingError where that isn't recorded."""
    config = _fill_in(read_json(folder.config))
    if not fits(config, _OPTIONS | {"plan": {}}):
        raise TrainingError(f"config.json of the run {folder.name!r} is damaged: it holds no options.")
    source = ModelSource(**{key: config["model"][key] for key in _SOURCE})
    options = {key: config[key] for key in _OPTIONS}
    return Options(**{**options, "model": source}), Plan.from_dict(config["plan"])


def _fill_in(config: Any) -> Any:
    """The same with what earlier releases left out; up to 0.1.0 the model's settings stood beside "model"."""
    if not isinstance(config, dict):
        return config
    config = {"onnx": False, "tensorboard": False, "stored": None, **config}
    if isinstance(config.get("model"), str):
        beside = {name: config.get(name) for name in ("arch", "num_heads", "grid")}
        config["model"] = {"source": config["model"], **beside}
    return config
