"""State dicts of timm's other plain families (EVA, BEiT, rotary, relative positions), by comparing shapes."""

from functools import cache

import timm

from explorer.errors import CheckpointError, ModelError
from explorer.models.formats.dialects import Tensors
from explorer.models.timm_models import create_empty

FAMILIES = ("eva", "beit", "vision_transformer_relpos", "naflexvit", "deit")
HEADS = ("head.", "head_dist.", "fc_norm.", "norm.")  # depend on the task, not on the family
Shapes = frozenset[tuple[str, tuple[int, ...]]]


def recognise(tensors: Tensors, file: str) -> str:
    """The one timm architecture whose backbone has exactly these keys and shapes.

    Raises CheckpointError that asks for arch where none or several have.
    """
    shapes = _backbone(tensors)
    found = [name for name in _architectures() if _shapes_of(name) == shapes]
    if len(found) == 1:
        return found[0]
    if found:
        raise CheckpointError(f"{file} could be {', '.join(found[:6])}: say which with arch.")
    raise CheckpointError(
        f"{file} is no plain Vision Transformer and none of timm's other families has its tensors: name its timm "
        "architecture with arch."
    )


def _backbone(tensors: Tensors) -> Shapes:
    return frozenset((key, tuple(t.shape)) for key, t in tensors.items() if not key.startswith(HEADS))


def _architectures() -> list[str]:
    return [name for family in FAMILIES for name in timm.list_models(module=family)]


@cache
def _shapes_of(architecture: str) -> Shapes:
    try:
        return _backbone(create_empty(architecture, num_classes=0).state_dict())
    except ModelError:
        return frozenset()
