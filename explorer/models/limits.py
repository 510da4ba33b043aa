"""How large a model may be: measured from its settings before any memory is taken for it."""

import math
import os
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from explorer.errors import CheckpointError

MAX_DEPTH = 512  # layers; every one costs Python objects, even without its numbers
MAX_PARAMETERS = 10_000_000_000  # the largest published Vision Transformers have 7 billion
MAX_TOKENS = 65_536  # positions that a model has embeddings for: a grid of 256 x 256
MAX_BUFFERS = 2**28  # numbers beside parameters, such as indices of relative positions: tokens squared per layer
SPARE_PARAMETERS = 10_000_000  # that a model may have and its file lack: a classifier or a pooler
DEPTHS = ("depth", "num_hidden_layers", "num_layers", "n_layers")
POSITIVE = ("num_attention_heads", "num_heads", "hidden_size", "embed_dim", "intermediate_size", "patch_size")
SIZES = ("img_size", "image_size", "input_size")


def max_parameters() -> int:
    """Parameters and buffers that a model may have; EXPLORER_MAX_PARAMETERS sets another limit."""
    return _setting("EXPLORER_MAX_PARAMETERS", MAX_PARAMETERS)


def max_tokens() -> int:
    """Positions that a model may have embeddings for; EXPLORER_MAX_TOKENS sets another limit."""
    return _setting("EXPLORER_MAX_TOKENS", MAX_TOKENS)


def _setting(name: str, usual: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isascii() and text.isdigit() else usual


def check_numbers(settings: dict[str, Any], patch_size: Any, name: str) -> None:
    """Raise CheckpointError for settings that no model can have: infinite numbers, too many layers or positions.

    patch_size: side of a patch in pixels as the settings say it, or None where they don't.
    """
    for key, value in settings.items():
        for number in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(number, float) and not math.isfinite(number):
                raise CheckpointError(f"config.json in {name} says {key} is {number}: save the model again.")
        if key in DEPTHS and isinstance(value, int) and not 1 <= value <= MAX_DEPTH:
            raise CheckpointError(f"{name} has {value:,} layers by its config; a model has 1 to {MAX_DEPTH}.")
        if key in POSITIVE and any(number < 1 for number in _numbers(value)):
            raise CheckpointError(f"config.json in {name} says {key} is {value}, not 1 or more: save the model again.")
        if key in SIZES:
            _check_tokens(_numbers(value)[-2:], _numbers(patch_size), name)


def _numbers(value: Any) -> list[float]:
    values = value if isinstance(value, (list, tuple)) else [value]
    return [number for number in values if isinstance(number, (int, float)) and not isinstance(number, bool)]


def _check_tokens(sides: list[float], patch: list[float], name: str) -> None:
    sides = sides * 2 if len(sides) == 1 else sides
    patch_size = patch[0] if patch and patch[0] >= 1 else 16
    tokens = math.prod(side / patch_size for side in sides)
    if sides and tokens > max_tokens():
        raise CheckpointError(
            f"{name} has positions for {tokens:,.0f} patches by its config, the limit is {max_tokens():,}: "
            "set EXPLORER_MAX_TOKENS to more if it is really so large."
        )


def measure(build: Callable[[], nn.Module], name: str) -> nn.Module:
    """What `build` makes, on torch's meta device, where nothing takes memory.

    Raises CheckpointError where its parameters and buffers together pass the limit, or its buffers alone theirs.
    """
    with torch.device("meta"):
        module = build()
    buffers = _count(module.buffers())
    count = _count(module.parameters()) + buffers
    if buffers > MAX_BUFFERS:
        raise CheckpointError(
            f"{name} has tables of {buffers:,} numbers by its config, as relative positions of large images need; the "
            f"limit is {MAX_BUFFERS:,}: save it with a smaller image size."
        )
    if count > max_parameters():
        raise CheckpointError(
            f"{name} has {count:,} parameters by its config, the limit is {max_parameters():,}: "
            "set EXPLORER_MAX_PARAMETERS to more if this computer can hold it."
        )
    return module


def check_filled(module: nn.Module, tensors: Iterable[torch.Tensor], name: str) -> None:
    """Raise CheckpointError for a module from measure() that is far larger than the weights that are to fill it."""
    needed, held = _count(module.parameters()), _count(tensors)
    if needed > 2 * held + SPARE_PARAMETERS:
        raise CheckpointError(
            f"{name} has {needed:,} parameters by its config, but its weights hold {held:,}: they belong to different "
            "models."
        )


def _count(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors)
