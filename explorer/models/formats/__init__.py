"""Weights files of many projects, recognised from their keys and shapes alone, as timm VisionTransformers."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from explorer.errors import CheckpointError
from explorer.models.formats.architecture import Architecture, architecture_of
from explorer.models.formats.dialects import DIALECTS, Dialect, Tensors
from explorer.models.formats.reading import Contents, read_contents

# Which copy of the weights to take where a training file holds several: averaged teachers look best.
PREFERENCES = (("teacher", 2), ("student", -2), ("momentum", -1), ("ema", -1), ("decoder", -3))
HEADS_KEYS = ("num_heads", "num_attention_heads", "n_heads", "nhead")
HEAD_NAMES = ("head", "classifier", "fc")


@dataclass(frozen=True)
class Checkpoint:
    """A weights file turned into a module, with sentences on what was assumed or left out."""

    module: nn.Module
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Backbone:
    """The tensors of one backbone inside a file, prefix taken off, and the keys that belong to nothing."""

    dialect: Dialect
    prefix: str
    tensors: Tensors
    left_out: tuple[str, ...]


def load_checkpoint(path: Path, num_heads: int | None = None, grid: tuple[int, int] | None = None) -> Checkpoint:
    """A weights file as a VisionTransformer in timm's arithmetic; CheckpointError names what is missing or wrong."""
    contents = read_contents(path)
    backbone = find_backbone(contents, path.name)
    tensors = floats(backbone.dialect.convert(backbone.tensors))
    heads = num_heads or _heads_in_file(contents.settings)
    epsilon = 1e-6 if "blocks.0.ls1.gamma" in tensors else backbone.dialect.epsilon
    architecture = architecture_of(tensors, heads, grid, epsilon)
    module = _build(architecture)
    kept, dropped = fit(tensors, module, path.name)
    module.load_state_dict(kept, assign=True)
    notes = (*architecture.assumed, *left_out_note([*dropped, *backbone.left_out]))
    return Checkpoint(module, notes)


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
    own = {key.removeprefix(prefix): t for key, t in contents.tensors.items() if key.startswith(prefix)}
    outside = [key for key in contents.tensors if not key.startswith(prefix)]
    head = _head_outside(contents.tensors, prefix, own)
    own.update(head)
    left_out = [key for key in outside if key.rpartition(".")[0].rpartition(".")[2] not in HEAD_NAMES or not head]
    return Backbone(dialect, prefix, own, (*left_out, *_trainer_settings(contents.settings)))


def _preference(prefix: str) -> tuple[int, int]:
    score = sum(value for word, value in PREFERENCES if word in prefix)
    return score, -len(prefix)


def _no_backbone(contents: Contents, file: str) -> str:
    keys = list(contents.tensors)
    if not keys:
        return f"{file} holds no tensors: give a file with a model's state_dict()."
    some = ", ".join(keys[:3])
    if any(t.ndim == 4 and t.shape[-1] in (3, 5, 7) for t in contents.tensors.values()):
        return (
            f"{file} looks like a convolutional network ({some}, …) without patch embedding: give a Vision Transformer."
        )
    return f"{file} holds no Vision Transformer that the explorer knows: no patch embedding among {some}, …"


def _head_outside(tensors: Tensors, prefix: str, own: Tensors) -> Tensors:
    """The linear classifier that a wrapper keeps beside its backbone, as "head.weight" and "head.bias"."""
    outer = prefix.removesuffix(".").rpartition(".")[0]
    outer = f"{outer}." if outer else ""
    for scope in dict.fromkeys((prefix, outer)):
        for name in HEAD_NAMES:
            weight, bias = tensors.get(f"{scope}{name}.weight"), tensors.get(f"{scope}{name}.bias")
            if weight is not None and bias is not None and "head.weight" not in own:
                return {"head.weight": weight, "head.bias": bias}
    return {}


def _trainer_settings(settings: dict[str, Any]) -> Iterable[str]:
    return sorted({key.partition(".")[0] for key in settings if "." in key})


def _heads_in_file(settings: dict[str, Any]) -> int | None:
    for key, value in settings.items():
        if key.rpartition(".")[2] in HEADS_KEYS and str(value).isdigit() and int(value) > 0:
            return int(value)
    return None


def floats(tensors: Tensors) -> Tensors:
    """Copies in float32, so that nothing stays tied to the file."""
    return {key: t.to(torch.float32, copy=True) for key, t in tensors.items() if t.is_floating_point()}


def _build(architecture: Architecture) -> nn.Module:
    cls = VisionTransformerDistilled if architecture.distilled else VisionTransformer
    with torch.device("meta"):  # shapes only: random numbers would be thrown away at once
        module = cls(**architecture.settings, weight_init="skip")
    size = architecture.settings["img_size"]
    module.pretrained_cfg = {  # type: ignore[assignment]
        "architecture": None,
        "input_size": (3, *size),
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "interpolation": "bicubic",
    }
    return module


def fit(tensors: Tensors, module: nn.Module, file: str) -> tuple[Tensors, list[str]]:
    """The tensors that the module has a place for, and the keys it has none for.

    Raises CheckpointError that names a missing, misshapen or non-finite tensor of the backbone.
    """
    own = module.state_dict()
    kept = {key: tensors[key] for key in own if key in tensors}
    for key, parameter in own.items():
        if key not in kept:
            raise CheckpointError(f"{file}: the tensor {key} is missing, so the Vision Transformer isn't complete.")
        if kept[key].shape != parameter.shape:
            got, expected = tuple(kept[key].shape), tuple(parameter.shape)
            raise CheckpointError(f"{file}: {key} has shape {got}, expected {expected} beside the other tensors.")
        check_finite(kept[key], key, file)
    return kept, [key for key in tensors if key not in own]


def check_finite(tensor: Tensor, key: str, file: str) -> None:
    """Raise CheckpointError where a weight is NaN or infinite: every map of it would be."""
    if not math.isfinite(float(tensor.sum())) and not bool(torch.isfinite(tensor).all()):
        raise CheckpointError(f"{file}: {key} contains NaN or infinite numbers: the training it comes from diverged.")


def left_out_note(keys: list[str]) -> tuple[str, ...]:
    if not keys:
        return ()
    groups: dict[str, int] = {}
    for key in keys:
        group = ".".join(key.split(".")[:2])
        groups[group] = groups.get(group, 0) + 1
    listed = ", ".join(f"{name} ({count})" if count > 1 else name for name, count in list(groups.items())[:12])
    more = f" and {len(groups) - 12} more" if len(groups) > 12 else ""
    return (f"Left out, because a backbone has no place for it: {listed}{more}.",)
