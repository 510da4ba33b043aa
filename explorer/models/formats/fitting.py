"""Tensors into a module: what is missing, misshapen or not finite is named, what has no place is listed."""

import math
import sys

import torch
from torch import nn

from explorer.errors import CheckpointError
from explorer.models.facts import LEFT_OUT
from explorer.models.formats.dialects import Tensors
from explorer.models.formats.reading import first_line

LISTED = 12  # names in a note before "and N more"


def floats(tensors: Tensors) -> Tensors:
    """Copies in float32, so that nothing stays tied to the file."""
    return {key: t.to(torch.float32, copy=True) for key, t in tensors.items() if t.is_floating_point()}


def fit(tensors: Tensors, module: nn.Module, file: str) -> tuple[Tensors, list[str]]:
    """The tensors that the module has a place for, and the keys it has none for.

    Raises CheckpointError that names a missing, misshapen or non-finite tensor of the backbone.
    """
    own, weights = module.state_dict(), {name for name, _ in module.named_parameters()}
    counters = {key: torch.zeros((), dtype=own[key].dtype) for key in own if key.endswith("num_batches_tracked")}
    kept = counters | {key: tensors[key] for key in own if key in tensors}
    for key, parameter in own.items():
        if key not in kept:
            raise CheckpointError(f"{file}: the tensor {key} is missing, so the Vision Transformer isn't complete.")
        if kept[key].shape != parameter.shape:
            got, expected = tuple(kept[key].shape), tuple(parameter.shape)
            raise CheckpointError(f"{file}: {key} has shape {got}, expected {expected} beside the other tensors.")
        if key in weights:  # a buffer may hold an infinite bound
            check_finite(kept[key], key, file)
    return kept, [key for key in tensors if key not in own]


def check_finite(tensor: torch.Tensor, key: str, file: str) -> None:
    """Raise CheckpointError where a weight is NaN or infinite, since every map would be, too."""
    if not math.isfinite(float(tensor.sum())) and not bool(torch.isfinite(tensor).all()):
        raise CheckpointError(f"{file}: {key} contains NaN or infinite numbers: the training it comes from diverged.")


def left_out_note(keys: list[str]) -> tuple[str, ...]:
    """One sentence that lists what was left out, by the first two parts of its names; none where nothing was."""
    if not keys:
        return ()
    groups: dict[str, int] = {}
    for key in keys:
        group = ".".join(key.split(".")[:2])
        groups[group] = groups.get(group, 0) + 1
    listed = ", ".join(f"{name} ({count})" if count > 1 else name for name, count in list(groups.items())[:LISTED])
    more = f" and {len(groups) - LISTED} more" if len(groups) > LISTED else ""
    return (f"{LEFT_OUT}: {listed}{more}.",)


def interpolation_note(tensors: Tensors, module: nn.Module) -> tuple[str, ...]:
    """The sentence on what timm interpolates to fit the module; none where all shapes agree."""
    own = module.state_dict()
    changed = [key for key in tensors if key in own and own[key].shape != tensors[key].shape]
    positions = next((key for key in changed if key.endswith(("pos_embed", "relative_position_bias_table"))), None)
    notes = ()
    if positions is not None:
        axis = -2 if positions.endswith("pos_embed") else 0
        before, after = (shapes[positions].shape[axis] for shapes in (tensors, own))
        notes = (
            f"Its {before} positions are interpolated to {after}, for the size that its config or architecture has.",
        )
    if any(key.endswith("patch_embed.proj.weight") for key in changed):
        notes += ("Its patches are resampled to the size that its config or architecture has.",)
    return notes


def fill(module: nn.Module, tensors: Tensors, file: str) -> list[str]:
    """Load tensors into a timm module, converted by timm where keys or the grid differ; the keys left out."""
    own = module.state_dict()
    other_grid = "pos_embed" in own and "pos_embed" in tensors and own["pos_embed"].shape != tensors["pos_embed"].shape
    if other_grid or not tensors.keys() >= own.keys():
        tensors = _convert(tensors, module, file)
    kept, left_out = fit(tensors, module, file)
    module.load_state_dict(kept, assign=True)
    return left_out


def _convert(tensors: Tensors, module: nn.Module, file: str) -> Tensors:
    """timm's own conversion of the original authors' keys, where the family has one."""
    convert = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return tensors
    try:
        return convert(dict(tensors), module)
    except (KeyError, RuntimeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{file} doesn't fit {type(module).__name__} of timm: {first_line(error)}.") from error
