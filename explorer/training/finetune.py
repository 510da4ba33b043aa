"""finetune: from images in class folders and a base model to a checkpoint, all of it recorded in a run folder."""

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs

from explorer import paths
from explorer.data.changes import NO_CHANGES, Changes, read_changes
from explorer.data.report import DatasetReport
from explorer.errors import ExplorerError, PlanError, TrainingError
from explorer.launch import LONGEST_WAIT
from explorer.models.backbone import Model
from explorer.models.onnx import check_exporter
from explorer.models.source import ModelSource
from explorer.training.loop import Stopped
from explorer.training.pipeline import Work
from explorer.training.plan import ACCELERATE_NAMES, Plan
from explorer.training.runs.events import rewind
from explorer.training.runs.folder import RunFolder, State, create_run, new_options, read_config
from explorer.training.runs.processes import MachineQueue, refuse_live
from explorer.training.runs.reporter import Progress, Reporter, progress_display
from explorer.training.runs.snapshots import saved_epochs
from explorer.visitors.settings import settings

RESUMABLE = ("starting", "stopped", "interrupted", "failed")  # starting: this process was launched for it
# On a CPU torch has no exception of its own for lost memory: its allocator and oneDNN say so only in these words.
LOST_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "could not create a primitive",
    "could not create a memory",
)
RESERVE = 2**16  # bytes that a run holds on the disk, so that there is room to say that it is full
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_MEMORY = (
    "There is not enough memory for this plan; use a smaller batch size or image size, train fewer blocks, "
    "or close other programs, then resume the run."
)
UNEXPECTED = "The training stopped at an unexpected error, which its log shows; earlier checkpoints are intact."


@dataclass(frozen=True)
class Result:
    """A run that ended well: status finished or stopped; no metrics or checkpoint where it stopped before training."""

    run_dir: Path
    status: str
    metrics: dict[str, Any]
    checkpoint: Path | None


def finetune(
    path: str | Path | DatasetReport,
    source: str | Path | ModelSource | Model,
    plan: Plan | None = None,
    run_dir: str | Path = "runs/run",
    *,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    stop_after: int | None = None,
    onnx: bool = False,
    tensorboard: bool = False,
    arch: str | None = None,
    num_heads: int | None = None,
    grid: str | None = None,
    changes: Changes | str | Path | None = None,
    progress: Progress | bool = True,
) -> Result:
    """Fine-tune a Vision Transformer on a zip or folder of class folders, or on what read_dataset found in one.

    source: what load_model takes, with arch, num_heads and grid, or a loaded Model. run_dir: a new folder for the run,
    or with resume=True one that was stopped, interrupted or failed. checkpoint: the folder to make; by default
    checkpoints/<name> beside the folder "runs" that holds run_dir, else run_dir/checkpoint. Result.checkpoint is its
    path, and explorer.load_model(result.checkpoint) opens it. stop_after: stop, as if asked to, after so many epochs.
    changes: photos to leave out or to give another class, or the file that keeps them (see explorer.data.changes); the
    run keeps a copy, and the data stay as they are. progress: True shows a bar on stderr, or lines where that is no
    terminal; False nothing; a function is called with the State as it changes. Waits while another job runs on this
    machine.
    Raises DataError, ModelError or PlanError for bad input, which leave no run behind; TrainingError for a full disk or
    lost memory.
    """
    if onnx:
        check_exporter()  # before hours go into the training
    folder, main = RunFolder(run_dir), int(os.environ.get("RANK", 0)) == 0
    loaded = source if isinstance(source, Model) else None
    given = path if isinstance(path, DatasetReport) else None
    launched = None
    if resume:
        if changes:
            raise TrainingError("A run that goes on keeps the changes of its data that it was started with.")
        if main:
            launched = _reopen(folder)
        options, plan = read_config(folder)
    else:
        plan = (plan or Plan()).resolved()
        model = source.source if isinstance(source, Model) else ModelSource.of(source, arch, num_heads, grid)
        data = path.source if isinstance(path, DatasetReport) else path
        options = new_options(folder, data, model, checkpoint=checkpoint, onnx=onnx, tensorboard=tensorboard)
        if main:
            wanted = read_changes(Path(changes)) if isinstance(changes, (str, Path)) else changes
            create_run(folder, options, plan, wanted or NO_CHANGES)
    with record_failures(folder, main, new=not resume), ExitStack() as stack:
        show = stack.enter_context(progress_display(folder.name, progress)) if main else None
        if main:
            folder.write_state(State("running", epochs=plan.epochs))
        reporter = Reporter(folder, main, plan.epochs, show, options.tensorboard)
        stack.callback(reporter.close)
        if launched:
            reporter.emit("phase", phase="starting", seconds=max(0.0, time.time() - launched))
        stop = folder.stop_request.exists
        try:
            if main:
                _wait_for_turn(stack, folder, reporter, stop)
            stop = _or_out_of_time(stop)
            work = Work(folder, start_accelerator(plan), reporter, options, plan, stop, given)
            metrics, status = work.run(loaded, stop_after)
        except Stopped:  # before there was anything to keep
            reporter.update(status="stopped", place=None, seconds_left=None)
            reporter.emit("end", status="stopped")
            return Result(folder.path, "stopped", {}, None)
        return Result(folder.path, status, metrics, Path(options.checkpoint))


def start_accelerator(plan: Plan) -> Accelerator:
    """accelerate's view of the devices and processes; PlanError for a precision that they can't compute in."""
    waits = InitProcessGroupKwargs(timeout=LONGEST_WAIT)
    try:
        return Accelerator(mixed_precision=mixed_precision(plan), kwargs_handlers=[waits])
    except ValueError as error:  # no such arithmetic on this device, or this process already trained in another
        raise PlanError(
            f"precision {plan.precision} can't be used here ({error}); use auto in a new process."
        ) from error


def mixed_precision(plan: Plan) -> str:
    """accelerate's name for the plan's precision: auto is bfloat16 where a CUDA device computes in it, else float32.

    On CPUs without bfloat16 units autocast is several times slower than float32, and on MPS it gains little for ViTs.
    """
    if plan.precision == "auto":
        return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "no"
    return ACCELERATE_NAMES[plan.precision]


def _reopen(folder: RunFolder) -> float | None:
    """Claim the folder of a run that goes on, or that was made for this process; TrainingError for any other.

    Returns the time at which this process was launched for it, None where a person started it.
    """
    refuse_live(folder.path)
    state = folder.read_state()
    if state.status not in RESUMABLE:
        raise TrainingError(
            f"Only a stopped, interrupted or failed run can be resumed; {folder.name!r} is {state.status}."
        )
    if state.status != "starting":  # of a process that was launched for it, the run may have been asked to stop already
        folder.stop_request.unlink(missing_ok=True)
    rewind(folder.events, saved_epochs(folder))
    return state.updated if state.status == "starting" else None


def _wait_for_turn(stack: ExitStack, folder: RunFolder, reporter: Reporter, stop: Callable[[], bool]) -> None:
    """Wait in the queue until this job may run, and hold its place until the stack closes; raises Stopped."""

    def waiting(place: int) -> None:
        reporter.update(status="queued", place=place)
        if stop():
            raise Stopped

    stack.enter_context(MachineQueue().turn(folder.path, waiting))
    reporter.update(status="running", phase="reading", place=None)


def _or_out_of_time(stop: Callable[[], bool]) -> Callable[[], bool]:
    """The same, but also true once a visitor's training has used up its time."""
    if paths.workspace() is None:
        return stop
    end = time.monotonic() + 60 * settings().minutes
    return lambda: stop() or time.monotonic() > end


@contextmanager
def record_failures(folder: RunFolder, main: bool, new: bool) -> Iterator[None]:
    """Write a failed state for whatever ends the block early, and raise TrainingError for a full disk or lost memory.

    main: whether this process writes the run folder (of several in one launch, only one does). new: whether this very
    call made the folder; then a run that is refused for what it was given leaves nothing behind.
    """
    sentence, refused, reserve = UNEXPECTED, False, folder.path / ".reserve"
    try:
        if main:
            reserve.write_bytes(os.urandom(RESERVE))  # zeros take no room on some disks
        yield
        sentence = ""
    except ExplorerError as error:
        sentence, refused = str(error), True
        raise
    except OSError as error:
        sentence = _why(error, folder)
        raise TrainingError(sentence) from error
    except (MemoryError, torch.OutOfMemoryError) as error:
        sentence = NO_MEMORY
        raise TrainingError(sentence) from error
    except RuntimeError as error:
        if not any(words in str(error) for words in LOST_MEMORY):
            raise
        sentence = NO_MEMORY
        raise TrainingError(sentence) from error
    finally:
        if main:
            reserve.unlink(missing_ok=True)
        if sentence and main:
            _write(folder, sentence)
            if new and refused and folder.refused:
                shutil.rmtree(folder.path, ignore_errors=True)


def _why(error: OSError, folder: RunFolder) -> str:
    if error.errno not in FULL:
        return f"A file could not be read or written: {error}."
    shutil.rmtree(folder.cache, ignore_errors=True)  # the largest thing of a run, and quickly made again
    return "The disk is full; free some space, then resume the run. Its earlier checkpoints are intact."


def _write(folder: RunFolder, sentence: str) -> None:
    state = State("failed")
    with suppress(ExplorerError):  # a broken state file: the failure is noted all the same
        state = folder.read_state()
    # If not even this fits on the disk, the run shows as interrupted once its process is gone.
    with suppress(OSError):
        folder.write_state(replace(state, status="failed", place=None, seconds_left=None, error=sentence))
