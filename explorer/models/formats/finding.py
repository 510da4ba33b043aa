"""Where in a file the backbone lies: which copy of the weights, under which prefix, in whose key names."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from explorer.errors import CheckpointError
from explorer.models.formats.dialects import DIALECTS, Dialect, Tensors
from explorer.models.formats.reading import Contents

# Which copy of the weights to take where a training file holds several: averaged teachers look best.
PREFERENCES = (("teacher", 2), ("student", -2), ("momentum", -1), ("ema", -1), ("decoder", -3))
# Linear classifiers that wrappers keep beside a backbone, and the name that timm has for each.
HEADS = {
    "cls_classifier": "head",
    "distillation_classifier": "head_dist",
    "head": "head",
    "classifier": "head",
    "fc": "head",
}


@dataclass(frozen=True)
class Backbone:
    """The tensors of one backbone inside a file, prefix taken off, and the keys that belong to nothing."""

    dialect: Dialect
    prefix: str
    tensors: Tensors
    left_out: tuple[str, ...]


def find_backbone(contents: Contents, file: str) -> Backbone:
    """The best copy of a ViT in the file: every patch embedding marks one; teachers go before students."""
    candidates = [
        (dialect, key.removesuffix(dialect.anchor))
        for dialect in DIALECTS
        for key in contents.tensors
        if key == dialect.anchor or key.endswith("." + dialect.anchor)
    ]
    if not candidates:
        raise CheckpointError(_no_backbone(contents, file))
    dialect, prefix = max(candidates, key=lambda candidate: _preference(candidate[1]))
    inside = {key.removeprefix(prefix): tensor for key, tensor in contents.tensors.items() if key.startswith(prefix)}
    width = inside[dialect.anchor].shape[0] if inside[dialect.anchor].ndim else 0
    head = _head_beside(contents.tensors, prefix, width) if "head.weight" not in inside else {}
    used = {id(tensor) for tensor in head.values()}
    left_out = [key for key, t in contents.tensors.items() if not key.startswith(prefix) and id(t) not in used]
    inside = {key: tensor for key, tensor in inside.items() if id(tensor) not in used} | head
    return Backbone(dialect, prefix, inside, (*left_out, *_trainer_settings(contents.settings)))


def _preference(prefix: str) -> tuple[int, int]:
    score = sum(value for word, value in PREFERENCES if word in prefix)
    return score, -len(prefix)


def _head_beside(tensors: Tensors, prefix: str, width: int) -> Tensors:
    """Linear classifiers of the backbone's width beside it or in the wrapper around it, under timm's names."""
    outer = prefix.removesuffix(".").rpartition(".")[0]
    found: Tensors = {}
    for scope in (prefix, f"{outer}." if outer else ""):
        for name, own_name in HEADS.items():
            weight, bias = tensors.get(f"{scope}{name}.weight"), tensors.get(f"{scope}{name}.bias")
            if weight is None or bias is None or weight.ndim != 2 or weight.shape[1] != width:
                continue
            if f"{own_name}.weight" not in found:
                found |= {f"{own_name}.weight": weight, f"{own_name}.bias": bias}
    return found


def _trainer_settings(settings: dict[str, Any]) -> Iterable[str]:
    """Top-level names of what isn't tensors: optimizer, args, ..."""
    return sorted({key.partition(".")[0] for key in settings if "." in key})


def _no_backbone(contents: Contents, file: str) -> str:
    keys = list(contents.tensors)
    if not any(keys):
        return f"{file} holds no named tensors: give a file with a model's state_dict()."
    some = ", ".join(keys[:3])
    if any(tensor.ndim == 4 and tensor.shape[-1] in (3, 5, 7) for tensor in contents.tensors.values()):
        return (
            f"{file} looks like a convolutional network ({some}, …) without patch embedding: give a Vision Transformer."
        )
    return (
        f"{file} holds no Vision Transformer whose names the explorer knows ({some}, …): give the folder that it was "
        "saved in by timm or transformers, with its config.json."
    )
