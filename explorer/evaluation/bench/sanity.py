"""Does a map depend on what the model learnt? Its layers become random from the top (Adebayo et al., NeurIPS 2018)."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from explorer.models.backbone import Model

PARTS = 4  # into which the blocks are made random, one after the other


@dataclass(frozen=True)
class Stage:
    """A model of which the top is random."""

    name: str  # "head", "head and 3 layers", …, "everything"
    model: Model


def stages(model: Model, seed: int = 0) -> Iterator[Stage]:
    """The model with a random head, then with more and more random blocks from the last one down, then all random.

    Every tensor gets normal numbers of its own mean and deviation, so that activations keep their size. The head is all
    behind the blocks, text prompts and their projection included. One copy of the module is changed step by step: a
    stage is gone once the next one is asked for.
    """
    module, adapter = copy.deepcopy(model.module), copy.deepcopy(model.adapter)
    part = replace(model, module=module, adapter=adapter)
    generator = torch.Generator().manual_seed(seed)
    below, blocks, above = layers_of(module, model.depth)
    randomise([*above, *(held for held in vars(adapter).values() if isinstance(held, Tensor))], generator)
    yield Stage("head", part)
    done = 0
    for some in np.array_split(np.arange(model.depth)[::-1], min(PARTS, model.depth)):
        for index in some:
            randomise(blocks[index], generator)
        done += len(some)
        yield Stage(f"head and {done} layer{'s' if done > 1 else ''}", part)
    randomise(below, generator)
    yield Stage("everything", part)


def stage_count(model: Model) -> int:
    """How many stages a model has."""
    return min(PARTS, model.depth) + 2


def layers_of(module: nn.Module, depth: int) -> tuple[list[nn.Parameter], list[list[nn.Parameter]], list[nn.Parameter]]:
    """The parameters before the blocks, of each block, and after them, in the order in which they are registered.

    The blocks are the first list of `depth` modules of one kind; where there is none, all are before one empty list.
    """
    lists = [each for each in module.modules() if isinstance(each, nn.ModuleList | nn.Sequential)]
    found = next((each for each in lists if len(each) == depth and len({type(block) for block in each}) == 1), None)
    blocks = [list(block.parameters()) for block in found] if found is not None else [[] for _ in range(depth)]
    inside = {id(parameter) for block in blocks for parameter in block}
    order = list(module.parameters())
    first = next((place for place, parameter in enumerate(order) if id(parameter) in inside), len(order))
    outside = [(place, parameter) for place, parameter in enumerate(order) if id(parameter) not in inside]
    below = [parameter for place, parameter in outside if place < first]
    return below, blocks, [parameter for place, parameter in outside if place > first]


@torch.no_grad()
def randomise(parameters: Sequence[Tensor], generator: torch.Generator) -> None:
    """Give each tensor normal numbers of its own mean and deviation."""
    for parameter in parameters:
        drawn = torch.randn(parameter.shape, generator=generator).to(parameter)
        deviation = parameter.float().std(unbiased=False).to(parameter)
        parameter.copy_(drawn * deviation + parameter.mean())


def similarity(one: Float[np.ndarray, "row col"], other: Float[np.ndarray, "row col"]) -> float:
    """Spearman's rank correlation of two maps; 0 where one of them is the same everywhere."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    from scipy.stats import spearmanr  # slow to import

    found: Any = spearmanr(one.ravel(), other.ravel())
    return float(found.statistic)
