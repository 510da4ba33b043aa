"""Which models come from which: what a checkpoint says of its base, and what the weights themselves show."""

import torch
from torch import Tensor

from explorer.models import registry
from explorer.models.backbone import Model
from explorer.models.source import ModelSource

ALIKE = 0.5  # cosine: training moves weights little, models of different starts give about 0
LOOKED_AT = 2**16  # numbers per tensor


def trained_from(model: Model, base: Model) -> bool:
    """Whether the model's checkpoint says that it was trained from the base, directly or over other checkpoints."""
    seen, source = set(), _key(model.source)
    while source not in seen:
        seen.add(source)
        origin = registry.trained_from(source)
        if origin is None:
            return False
        source = _key(origin.model)
        if source == _key(base.source):
            return True
    return False


def _key(model: ModelSource) -> str:
    entry = registry.find(registry.absolute_source(model).source)
    return entry.key if entry else model.source


def same_descent(first: Model, second: Model) -> bool:
    """Whether one was trained from the other or both from a third, as their weights tell: most point the same way.

    Only then does head 2 of one have to do with head 2 of the other.
    """
    weights, others = first.module.state_dict(), second.module.state_dict()
    shared = [name for name, tensor in weights.items() if tensor.ndim > 1 and _fits(tensor, others.get(name))]
    if not shared:
        return False
    cosines = [_cosine(weights[name], others[name]) for name in shared]
    return float(torch.tensor(cosines).median()) > ALIKE


def _fits(tensor: Tensor, other: Tensor | None) -> bool:
    return other is not None and other.shape == tensor.shape and tensor.is_floating_point()


def _cosine(first: Tensor, second: Tensor) -> float:
    first, second = (each.flatten()[:LOOKED_AT].float().cpu() for each in (first, second))
    return float(torch.nn.functional.cosine_similarity(first, second, dim=0))
