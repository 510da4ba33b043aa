"""Weights files to flat dictionaries of tensors: safetensors and torch files, nothing executed, memory bounded."""

import argparse
import pickle
import re
import sys
import threading
import zipfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from explorer.errors import CheckpointError
from explorer.models.formats.additions import named_as_base, quantised
from explorer.models.formats.config import ADAPTER, NO_WEIGHTS, WEIGHT_SUFFIXES, read_json
from explorer.models.formats.foreign import check_kind, no_torch_zip
from explorer.models.formats.stand_ins import StandIn, stand_in
from explorer.models.formats.trial import try_reading

MAX_DEPTH = 8  # of dictionaries inside dictionaries
MAX_ENTRIES = 200_000  # nodes visited while a file's dictionaries are walked
MAX_TENSORS = 50_000  # the largest published vision models have some 2,000
MAX_HEADER = 16 * 2**20  # bytes of a safetensors header
SLACK = 2**20  # what a zip's index may add to its entries
WEIGHT_NAMES = ("model.safetensors", "pytorch_model.bin", "model.pth")
SHARD_INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
SHARD = re.compile(r"(.+)-\d{5}-of-(\d{5})(\.\w+)")
# What DataParallel, torch.compile, FSDP, Lightning and people's own training loops put before all names.
WRAPPERS = ("module.", "_orig_mod.", "_fsdp_wrapped_module.", "model.", "net.", "state_dict.", "model_state_dict.")
# What torch.compile, FSDP and activation checkpointing put between names, before any module that they wrap; in front of
# all names it is a prefix like others.
BETWEEN = re.compile(r"(?<=\.)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
QUANTISERS = re.compile(r"(torchao|optimum\.quanto|quanto|bitsandbytes|modelopt|hqq|gptqmodel|torch\.ao)\.")
_unpickling = threading.Lock()  # safe_globals changes a list that all threads share


@dataclass(frozen=True)
class Contents:
    """What a weights file holds: tensors by dotted name, and its settings by theirs.

    settings: numbers, texts, tuples of texts or of up to four numbers; of anything else the name of its type.
    """

    tensors: dict[str, Tensor]
    settings: dict[str, Any] = field(default_factory=dict)


def read_contents(path: Path) -> Contents:
    """Every tensor of a .safetensors or torch file by dotted name, still on disk where the format allows.

    Raises CheckpointError with one sentence for anything else: missing, empty, truncated, unsafe or foreign files.
    """
    if not path.is_file():
        raise CheckpointError(f"{path.name} doesn't exist any more: pick another model or put the file back.")
    with path.open("rb") as file:
        head = file.read(512)
    if head[8:9] == b"{":
        return _read_safetensors(path)
    check_kind(path, head)
    if head[:4] == b"PK\x03\x04":
        return _read_torch_zip(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    return _read_pickle(path, mmap=False)


def read_file(path: Path) -> Contents:
    """read_contents(), and of one shard of a model those of all shards, which must lie beside it."""
    match = SHARD.fullmatch(path.name)
    if match is None or not path.is_file():
        return read_contents(path)
    start, count, end = match[1], int(match[2]), match[3]
    found = [part for part in (SHARD.fullmatch(other.name) for other in path.parent.iterdir()) if part]
    names = sorted(part[0] for part in found if (part[1], int(part[2]), part[3]) == (start, count, end))
    if len(names) != count:
        raise CheckpointError(
            f"{path.name} is one of the {count} files of a model, of which {len(names)} lie there: put all into its "
            "folder, or give one file."
        )
    return Contents({key: t for name in names for key, t in read_contents(path.parent / name).tensors.items()})


def _read_safetensors(path: Path) -> Contents:
    # The library checks that the header's offsets cover the file exactly before any tensor is made.
    _check_header(path)
    try:
        with safe_open(path, "pt") as file:
            tensors = {_own_name(key): file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no dict)
            return Contents(tensors, dict(file.metadata() or {}))
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path.name} isn't a complete safetensors file ({first_line(error)}): copy or download it again."
        ) from error


def _check_header(path: Path) -> None:
    """Raise CheckpointError for a safetensors header of more tensors than any model has, before they are made."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(min(length, MAX_HEADER))
    tensors = header.count(b'"data_offsets"')
    if tensors > MAX_TENSORS or MAX_HEADER < length < path.stat().st_size:
        more = f"{tensors:,} tensors" if tensors > MAX_TENSORS else f"a header of {length:,} bytes"
        raise CheckpointError(f"{path.name} has {more}, more than any vision model: give a file with one model.")


def _read_torch_zip(path: Path) -> Contents:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            names = {entry.filename.rpartition("/")[2] for entry in entries}
            if "data.pkl" not in names:
                raise no_torch_zip(path, archive)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise CheckpointError(f"{path.name} is truncated or damaged: copy or download it again.") from error
    if "constants.pkl" in names:
        raise CheckpointError(f"{path.name} is a TorchScript program, not weights: save its state_dict() instead.")
    claimed = sum(entry.file_size for entry in entries)
    if claimed > path.stat().st_size + SLACK:
        raise CheckpointError(
            f"{path.name} claims {claimed:,} bytes of content in a file of {path.stat().st_size:,}: it isn't an honest "
            "PyTorch file."
        )
    return _read_pickle(path, mmap=True)


def _read_pickle(path: Path, mmap: bool) -> Contents:
    """weights_only, with argparse.Namespace as the one class allowed (training scripts save their arguments)."""
    try_reading(path)
    try:
        content = _load(path, mmap)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_unsafe(path, error)) from error
    except (RuntimeError, ValueError, EOFError, OSError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{path.name} is truncated or no PyTorch file: copy or download it again.") from error
    walk = _Walk(path.name)
    walk.visit(content, "", 0)
    return Contents(walk.tensors, walk.settings)


def _load(path: Path, mmap: bool) -> Any:
    """What torch reads of a pickle; what harmless libraries left in it is passed over."""
    known: dict[str, Any] = dict.fromkeys(("argparse.Namespace", "types.SimpleNamespace"), argparse.Namespace)
    while True:
        try:
            with _unpickling, torch.serialization.safe_globals([(kind, name) for name, kind in known.items()]):
                return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        except pickle.UnpicklingError as error:
            found = stand_in(error, known)
            if found is None:
                raise
            known[found[0]] = found[1]


def _unsafe(path: Path, error: Exception) -> str:
    text = str(error)
    for marker in ("GLOBAL ", "Unsupported global: GLOBAL ", "Unsupported class "):
        if marker in text:
            name = text.split(marker, 1)[1].split()[0].strip("`'\",")
            if QUANTISERS.match(name):
                return quantised(path.name, name)
            return (
                f"{path.name} asks for {name}, which weights don't need, so it wasn't opened and nothing ran: "
                "save only the state_dict() and give that file."
            )
    return f"{path.name} isn't a PyTorch weights file, or a damaged one; nothing in it was run."


class _Walk:
    """Dictionaries inside dictionaries to dotted names; lists and other objects are no weights and are left."""

    def __init__(self, file: str):
        self.file = file
        self.tensors: dict[str, Tensor] = {}
        self.settings: dict[str, Any] = {}
        self._visited = 0
        self._seen: set[int] = set()  # dictionaries that the file refers to twice are walked once

    def visit(self, value: Any, name: str, depth: int) -> None:
        """Take in one entry of that dotted name; CheckpointError where there are too many or they lie too deep."""
        self._visited += 1
        if depth > MAX_DEPTH or self._visited > MAX_ENTRIES:
            raise CheckpointError(
                f"{self.file} nests its entries too deeply or has too many: give a plain state_dict()."
            )
        if isinstance(value, argparse.Namespace):
            value = vars(value)
        if isinstance(value, StandIn):
            value = value.value
        if isinstance(value, Tensor):
            self.tensors[name] = _honest(value, name, self.file)
        elif not isinstance(value, dict):
            self.settings[name] = _setting(value)
        elif id(value) not in self._seen:
            self._seen.add(id(value))
            for key, entry in value.items():
                if isinstance(key, (str, int)):  # of others, such as tuples in tuples, the text may have no end
                    own = _own_name(str(key))
                    self.visit(entry, f"{name}.{own}" if name else own, depth + 1)


def _own_name(name: str) -> str:
    """A tensor's name without what wrappers of single modules put in between."""
    return BETWEEN.sub("", name)


def _setting(value: Any) -> Any:
    if isinstance(value, (list, tuple)) and len(value) <= 4 and all(isinstance(part, (int, float)) for part in value):
        return tuple(value)
    if isinstance(value, (list, tuple)) and all(isinstance(part, str) for part in value):
        return tuple(value)
    return value if isinstance(value, (int, float, str, bool)) else type(value).__name__


def _honest(tensor: Tensor, name: str, file: str) -> Tensor:
    """The tensor; CheckpointError where it is no plain one, or claims more bytes than the file stores for it."""
    if type(tensor) not in (Tensor, nn.Parameter):  # a library of quantisation is imported, and made its own
        raise CheckpointError(quantised(file, f"{name} as {type(tensor).__name__}"))
    if tensor.is_meta:
        raise CheckpointError(
            f"{file}: {name} is without numbers (on the meta device): save the model once it is loaded."
        )
    if tensor.layout != torch.strided or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise CheckpointError(f"{file}: {name} claims shape {tuple(tensor.shape)} but stores less: it isn't weights.")
    return tensor


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]


def read_model_folder(folder: Path, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a folder's weights, with those of an adapter beside them, and that adapter's settings.

    name: what errors call the folder.
    """
    tensors, adapter = _unwrapped(read_weights_folder(folder, name)), folder / ADAPTER
    if not adapter.is_file():
        return tensors, {}
    for file in (folder / f"adapter_model{suffix}" for suffix in (".safetensors", ".bin")):
        if file.is_file():
            tensors = tensors | named_as_base(read_contents(file).tensors, tensors)
    return tensors, read_json(adapter, name)


def _unwrapped(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without the names that training in parallel or compiling puts before all of theirs."""
    prefix = next((one for one in WRAPPERS if tensors and all(key.startswith(one) for key in tensors)), None)
    return tensors if prefix is None else _unwrapped({key.removeprefix(prefix): t for key, t in tensors.items()})


def read_weights_folder(folder: Path, name: str) -> dict[str, Tensor]:
    """The tensors of the weights in a folder, in one file or in shards; CheckpointError where there are none."""
    for file in WEIGHT_NAMES:
        if (folder / file).is_file():
            return read_contents(folder / file).tensors
    variants = sorted(path.name for path in folder.glob("*.index.*.json"))  # model.safetensors.index.fp16.json
    for index in (*SHARD_INDICES, *variants):
        if (folder / index).is_file():
            return _read_shards(folder, index, name)
    files = sorted(path for path in folder.iterdir() if path.suffix in WEIGHT_SUFFIXES)
    files = [path for path in files if not path.name.startswith(NO_WEIGHTS)]
    if not files:
        raise CheckpointError(f"The folder {name} holds no weights: expected {WEIGHT_NAMES[0]}.")
    if len(files) > 1:
        names = ", ".join(path.name for path in files[:4])
        raise CheckpointError(
            f"The folder {name} holds several weights files ({names}): name the right one {WEIGHT_NAMES[0]} "
            f"or {WEIGHT_NAMES[1]}."
        )
    return read_contents(files[0]).tensors


def _read_shards(folder: Path, index: str, name: str) -> dict[str, Tensor]:
    """The tensors of all shards that an index names."""
    shards = read_json(folder / index, name).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()):
        raise CheckpointError(f"{index} in {name} has no weight_map of file names: save the model again.")
    files = sorted({Path(shard).name for shard in shards.values()})
    missing = [file for file in files if not (folder / file).is_file()]
    if missing:
        raise CheckpointError(f"The shard {missing[0]} that {index} names is missing in {name}: copy it there.")
    return {key: tensor for file in files for key, tensor in read_contents(folder / file).tensors.items()}


if __name__ == "__main__":  # the process that trial.py watches; what is wrong with the file, the next reader says
    with suppress(CheckpointError):
        read_contents(Path(sys.argv[1]))
