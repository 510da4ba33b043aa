"""Models that become random from the top, stage by stage."""

import copy
import re
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from explorer.evaluation.bench.sanity import layers_of, similarity, stages
from explorer.models.transformers_models import create_transformers
from tests.tiny import tiny_model


def changed(before: dict[str, torch.Tensor], module: torch.nn.Module) -> set[str]:
    return {name for name, tensor in module.state_dict().items() if not torch.equal(before[name], tensor)}


def test_layers_become_random_from_the_top_and_the_model_itself_stays():
    model = tiny_model(depth=5)
    before = copy.deepcopy(model.module.state_dict())
    seen = [(stage.name, changed(before, stage.model.module)) for stage in stages(model)]
    assert [name for name, _ in seen] == [
        "head", "head and 2 layers", "head and 3 layers", "head and 4 layers", "head and 5 layers", "everything",
    ]  # fmt: skip
    assert seen[0][1] == {"head.weight"}  # norms of ones and biases of zeros have no deviation, so they stay
    for (_, less), (_, more) in pairwise(seen):
        assert less < more
    assert any(name.startswith("blocks.4.") for name in seen[1][1])
    assert not any(name.startswith("blocks.2.") for name in seen[1][1])
    assert {"patch_embed.proj.weight", "cls_token", "pos_embed"} <= seen[-1][1] - seen[-2][1]
    assert not changed(before, model.module)


def test_random_weights_have_the_size_of_those_before():
    model = tiny_model()
    *_, last = stages(model)
    for name, tensor in last.model.module.state_dict().items():
        before = model.module.state_dict()[name]
        if before.numel() > 5000:
            assert float(tensor.std()) == pytest.approx(float(before.std()), rel=0.1), name


@pytest.mark.slow
def test_the_blocks_of_transformers_are_found_too():
    module: Any = create_transformers("vit")
    below, blocks, above = layers_of(module, module.config.num_hidden_layers)
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    assert all("embeddings" in names[id(parameter)] for parameter in below)
    numbers = [re.findall(r"\.(\d+)\.", names[id(block[0])])[0] for block in blocks]
    assert numbers == [str(index) for index in range(module.config.num_hidden_layers)]
    assert len(below) + sum(map(len, blocks)) + len(above) == len(names)


def test_similarity_is_of_ranks_and_nothing_is_like_a_flat_map():
    heatmap = np.random.default_rng(0).random((4, 4))
    assert similarity(heatmap, np.exp(heatmap)) == pytest.approx(1)
    assert similarity(heatmap, -heatmap) == pytest.approx(-1)
    assert similarity(heatmap, np.zeros((4, 4))) == 0
