"""What a run keeps after every epoch, so that a killed one goes on to the same result as an unbroken one."""

import os
import pickle
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from explorer.errors import TrainingError
from explorer.files import whole_file
from explorer.training.runs.folder import RunFolder

READ_ERRORS = (  # what torch.load raises for damaged files, and what follows from files of another content
    pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError, IndexError, AttributeError,
    TypeError, OSError,
)  # fmt: skip


@dataclass(frozen=True)
class Saved:
    """Where training stands after `epoch` whole epochs; order and augmentation follow from the seed and the epoch."""

    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = float("inf")
    baseline: Mapping[str, Any] = field(default_factory=dict)
    knn_accuracy: float = 0.0
    neighbours: Sequence[int] = ()  # class of each validation image by its nearest neighbours; none in older runs

    def after(self, epoch: int, val_loss: float) -> "Saved":
        """The same after one more epoch; a lower validation loss makes it the best."""
        if val_loss < self.best_loss:
            return replace(self, epoch=epoch, best_epoch=epoch, best_loss=val_loss)
        return replace(self, epoch=epoch)

    def patience_is_over(self, patience: int | None) -> bool:
        return patience is not None and self.epoch - self.best_epoch >= patience


def save_best(folder: RunFolder, weights: dict[str, Tensor]) -> None:
    _save_whole(folder.best, weights)


def keep_epoch(folder: RunFolder, epoch: int, weights: dict[str, Tensor]) -> None:
    """Keep an epoch's trained tensors until the checkpoint is made."""
    folder.epochs.mkdir(exist_ok=True)
    _save_whole(folder.epochs / f"{epoch}.safetensors", weights)


def kept_epochs(folder: RunFolder) -> dict[int, Path]:
    """What keep_epoch wrote."""
    return {int(path.stem): path for path in folder.epochs.glob("[0-9]*.safetensors")}


def save_epoch(folder: RunFolder, saved: Saved, weights: dict[str, Tensor], state: dict[str, Any]) -> None:
    """One file for weights, optimizer, schedule and place: after a kill they always belong to the same epoch."""
    content = {**asdict(saved), "weights": weights, "state": state}
    with whole_file(folder.resume) as partial, _system_errors(), partial.open("wb") as file:
        torch.save(content, file)  # with a mere path it would not say why it failed


def save_last(folder: RunFolder, weights: dict[str, Tensor]) -> None:
    _save_whole(folder.last, weights)


def load_saved(folder: RunFolder) -> tuple[Saved, dict[str, Tensor], dict[str, Any]]:
    """(where training stands, weights, optimizer and schedule); TrainingError where resume.pt is damaged."""
    try:
        content = torch.load(folder.resume, map_location="cpu", weights_only=True)
        weights, state = content.pop("weights"), content.pop("state")
        return Saved(**content), weights, state
    except READ_ERRORS as error:
        raise TrainingError(_damage_sentence(folder.resume)) from error


def load_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of one of the run's safetensors files; TrainingError where it is damaged."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise TrainingError(_damage_sentence(path)) from error


def _damage_sentence(path: Path) -> str:
    return f"{path.name} is damaged, so the run can't go on: delete it, and start another with the same plan."


def saved_epochs(folder: RunFolder) -> int:
    """How many whole epochs a run can go on from."""
    return load_saved(folder)[0].epoch if folder.resume.is_file() else 0


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """A safetensors file with the rights of any new file: the library's own is readable by its owner alone."""
    path.touch()
    rights = stat.S_IMODE(path.stat().st_mode)
    with _system_errors():
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path, metadata={"format": "pt"})
    path.chmod(rights)


def _save_whole(path: Path, tensors: Mapping[str, Tensor]) -> None:
    with whole_file(path) as partial:
        save_tensors(partial, tensors)


@contextmanager
def _system_errors() -> Iterator[None]:
    """Raise the system's own error, such as a full disk, where torch or safetensors wrapped it in theirs."""
    try:
        yield
    except (RuntimeError, SafetensorError) as error:
        numbered, cause = re.search(r"\(os error (\d+)\)", str(error)), error.__context__
        number = int(numbered[1]) if numbered else cause.errno if isinstance(cause, OSError) else None
        if number is None:
            raise
        raise OSError(number, os.strerror(number)) from error
