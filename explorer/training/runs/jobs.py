"""Training jobs in processes of their own: start, list, watch, stop, resume, delete, all through the run folder."""

import os
import re
import shutil
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

from explorer import paths
from explorer.data.changes import NO_CHANGES, Changes
from explorer.errors import ExplorerError, TrainingError
from explorer.models.source import ModelSource
from explorer.training.plan import Plan
from explorer.training.runs.events import REPORT, is_report, read_events
from explorer.training.runs.folder import (
    About,
    Options,
    RunFolder,
    State,
    create_run,
    default_checkpoint,
    new_options,
    read_config,
)
from explorer.training.runs.json_files import NUMBER, fits, read_json, write_json
from explorer.training.runs.processes import process_start, refuse_live

LONGEST_TITLE, LONGEST_NOTE = 120, 5_000  # characters
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")  # of a run
_METRICS = {**REPORT, "baseline": REPORT, "best_epoch": int, "knn_accuracy": NUMBER}
_PREDICTIONS = [{"image": PurePath, "name": str, "actual": str, "predicted": str, "probability": NUMBER}]


@dataclass(frozen=True)
class Run:
    """One run as a list shows it; metrics is None before the end, plan and options where they can't be read.

    damage: a sentence about what can't be read of it.
    """

    folder: RunFolder
    state: State
    options: Options | None = None
    plan: Plan | None = None
    metrics: dict[str, Any] | None = None
    damage: str | None = None
    about: About = field(default_factory=About)

    @property
    def title(self) -> str:
        """What a person calls it: the name unless it was given another."""
        return self.about.title or self.name

    @property
    def name(self) -> str:
        """Its folder's, escaped where that is no text."""
        return self.folder.name.encode(errors="backslashreplace").decode()

    def events(self) -> list[dict[str, Any]]:
        """All events so far, none where they can't be read."""
        try:
            return read_events(self.folder.events)
        except OSError:
            return []

    def predictions(self) -> list[dict[str, Any]]:
        """What predictions.json holds; TrainingError where it is missing or damaged."""
        rows = read_json(self.folder.predictions)
        names = self.metrics["class_names"] if self.metrics else None
        if not fits(rows, _PREDICTIONS) or not (names is None or _are_of(rows, names)):
            raise TrainingError(f"predictions.json of the run {self.name!r} is damaged: it holds no predictions.")
        return rows


def _are_of(rows: list[dict[str, Any]], class_names: list[str]) -> bool:
    """Whether all classes of predictions are among those."""
    return {row[key] for row in rows for key in ("actual", "predicted")} <= set(class_names)


def start(
    data: str | Path,
    model: str | ModelSource,
    plan: Plan,
    name: str,
    runs: Path | None = None,
    *,
    onnx: bool = False,
    stored: Path | None = None,
    changes: Changes = NO_CHANGES,
) -> RunFolder:
    """Write a run's config.json and start its process, which outlives this one; returns its folder.

    stored: the folder of the data as read already (see explorer.data.store). changes: of the data, before training.
    Raises TrainingError for a name that can't be used or is taken. What goes wrong later stands in the run's state.
    """
    folder = RunFolder(run_path(name, runs))
    options = new_options(folder, data, ModelSource.of(model), stored=stored, onnx=onnx)
    plan = plan.resolved()
    try:
        create_run(folder, options, plan, changes)
        _launch(folder, State("starting", epochs=plan.epochs))
    except OSError as error:
        if not isinstance(error, FileExistsError):  # that one is a run which another window began just now
            shutil.rmtree(folder.path, ignore_errors=True)
        raise TrainingError(f"The run {name!r} can't be started in {folder.path.parent} ({error.strerror}).") from error
    return folder


def resume(name: str, runs: Path | None = None) -> RunFolder:
    """Go on with a stopped, interrupted or failed run in a new process."""
    run = read_run(name, runs)
    if run.state.active or run.state.status == "finished":
        raise TrainingError(f"The run {name!r} is {run.state.status}; only one that stopped early can be resumed.")
    refuse_live(run.folder.path)
    if run.options is None and run.damage:
        raise TrainingError(f"The run {name!r} can't be resumed: {run.damage}")
    try:
        _launch(run.folder, replace(run.state, status="starting", error=None))
    except OSError as error:  # the disk that ended it may still be full
        raise TrainingError(f"The run {name!r} can't be resumed ({error.strerror}); nothing of it is lost.") from error
    return run.folder


def stop(name: str, runs: Path | None = None) -> None:
    """Ask a run to stop after its current step; it keeps the best weights so far and ends as stopped."""
    run = read_run(name, runs)
    if run.state.active:
        run.folder.stop_request.touch()


def delete(name: str, runs: Path | None = None) -> None:
    """Delete a run's folder, never its checkpoint; raises TrainingError while it is active."""
    run = _read(RunFolder(run_path(name, runs)))
    if run.state.active:
        raise TrainingError(f"The run {name!r} is {run.state.status}; stop it before deleting it.")
    refuse_live(run.folder.path)
    try:
        while run.folder.path.is_dir():
            with suppress(FileNotFoundError):  # its process, which has just ended, may be taking its last file away
                shutil.rmtree(run.folder.path)
    except OSError as error:
        raise TrainingError(f"The run {name!r} can't be deleted whole ({error.strerror}).") from error


def describe(name: str, about: About, runs: Path | None = None) -> None:
    """Store the name and notes that a person gives a run; TrainingError for too long a text or a full disk."""
    if len(about.title) > LONGEST_TITLE or len(about.note) > LONGEST_NOTE:
        raise TrainingError(f"A run's name takes {LONGEST_TITLE} characters at most, a note {LONGEST_NOTE:,}.")
    folder = read_run(name, runs).folder
    try:
        write_json(folder.about, asdict(about))
    except OSError as error:
        raise TrainingError(f"The note can't be kept ({error.strerror}): free some space.") from error


def read_run(name: str, runs: Path | None = None) -> Run:
    """One run; raises TrainingError where there is none of that name, or its state is damaged."""
    folder = RunFolder(run_path(name, runs))
    folder.read_state()
    return _read(folder)


def list_runs(runs: Path | None = None) -> list[Run]:
    """All runs, newest first; one that is damaged or can't be read says so and hides no other.

    TrainingError where the folder itself can't be read.
    """
    runs = runs or paths.runs()
    if not runs.is_dir():
        return []
    try:
        folders = [RunFolder(path) for path in runs.iterdir()]
    except OSError as error:
        raise TrainingError(f"The folder of runs, {runs}, can't be read ({error.strerror}).") from error
    found = []
    for folder in filter(_may_be_run, folders):
        with suppress(FileNotFoundError, TrainingError):  # deleted meanwhile
            found.append((folder.path.stat().st_ctime, _read(folder)))
    return [run for _, run in sorted(found, key=lambda pair: pair[0], reverse=True)]


def _may_be_run(folder: RunFolder) -> bool:
    """Whether it is one, or can't be looked into and has the name of one: the lost+found of a disk has none."""
    closed = not os.access(folder.path, os.X_OK)
    return not folder.path.is_symlink() and not folder.is_gone and not (closed and not _NAME.fullmatch(folder.name))


def _read(folder: RunFolder) -> Run:
    """The run of a folder; a damaged file costs what it holds, a damaged state makes the run a failed one."""
    try:
        state = folder.read_state()
    except TrainingError as error:
        if folder.is_gone:
            raise
        return Run(folder, State("failed", error=str(error)), damage=str(error))
    options = plan = metrics = damage = None
    about = About()
    try:
        about = folder.read_about()
        if folder.config.is_file():
            options, plan = read_config(folder)
        if folder.metrics.is_file():
            metrics = _read_metrics(folder)
    except (ExplorerError, OSError) as error:
        damage = str(error)
    return Run(folder, state, options, plan, metrics, damage, about)


def _read_metrics(folder: RunFolder) -> dict[str, Any]:
    metrics = read_json(folder.metrics)
    if not (fits(metrics, _METRICS) and is_report(metrics) and is_report(metrics["baseline"])):
        raise TrainingError(f"metrics.json of the run {folder.name!r} is damaged: it holds no scores.")
    return metrics


def run_path(name: str, runs: Path | None = None) -> Path:
    """runs/name, for names that stay inside that folder; raises TrainingError for others."""
    if not _NAME.fullmatch(name):
        raise TrainingError(
            f"{name!r} can't name a run: use up to 80 letters, digits, dots, dashes and underscores, "
            "a letter or digit first."
        )
    path = (runs or paths.runs()) / name
    if path.is_symlink():
        raise TrainingError(f"The run {name!r} is a link to another folder, so it is left alone.")
    return path


def free_name(data: str | Path, train: str, runs: Path | None = None) -> str:
    """A name for a new run that neither a run nor a checkpoint has: data-train, with a number where needed."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(data).stem).strip("-._")[:40] or "run"
    base, number = f"{stem}-{train}", 1
    while True:
        name = base if number == 1 else f"{base}-{number}"
        path = (runs or paths.runs()) / name
        if not path.exists() and not default_checkpoint(path).exists():
            return name
        number += 1


def _launch(folder: RunFolder, state: State) -> None:
    """Start the process that does what config.json says, from the last finished epoch on; its output goes to log.txt.

    It has a session of its own, so that it outlives the server that started it. Until process.json names it, the run
    counts as this process's.
    """
    runs, own = folder.path.parent.resolve(), paths.workspace()
    folder.process.unlink(missing_ok=True)
    folder.stop_request.unlink(missing_ok=True)
    folder.write_state(state)
    with folder.log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "explorer", "finetune", "--resume", "--name", folder.name, "--runs", str(runs)],
            cwd=paths.project(),
            env=os.environ | ({paths.WORKSPACE: str(own)} if own else {}),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        write_json(folder.process, {"pid": process.pid, "process_started": process_start(process.pid)})
    except OSError:
        process.kill()  # no one could watch it
        raise
    finally:  # an ended process that no one waits for stays in the system's table as a zombie
        threading.Thread(target=process.wait, daemon=True).start()
