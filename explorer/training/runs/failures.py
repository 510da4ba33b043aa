"""How a run ends when it can't go on: a failed state with one clear sentence, and everything saved before kept."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import torch

from explorer.errors import ExplorerError, TrainingError
from explorer.training.runs.folder import RunFolder, State

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


@contextmanager
def recorded_failures(folder: RunFolder, main: bool, new: bool) -> Iterator[None]:
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
    # Where not even this fits on the disk, the run shows as interrupted once its process is gone.
    with suppress(OSError):
        folder.write_state(replace(state, status="failed", place=None, seconds_left=None, error=sentence))
