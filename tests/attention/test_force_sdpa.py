"""Models whose attention is hidden are switched to show it while they are recorded, and back."""

from typing import Any

import numpy as np
import pytest
import torch

import explorer
from explorer.attention.force_sdpa import visible_attention
from tests.tiny import blocks_of, photo, tiny_model


def test_models_built_without_fused_attention_are_recorded_alike():
    model, slow = tiny_model(), tiny_model()
    for block in blocks_of(slow):
        block.attn.fused_attn = False
    np.testing.assert_allclose(
        explorer.record(model, photo()).attention(2), explorer.record(slow, photo()).attention(2), atol=1e-6
    )


def test_overlapping_recordings_switch_fused_attention_off_only_at_the_end():
    module: Any = tiny_model().module
    attention = module.blocks[0].attn
    attention.fused_attn = False
    first, second = visible_attention(module), visible_attention(module)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert attention.fused_attn is True
    second.__exit__(None, None, None)
    assert attention.fused_attn is False


def test_fused_attention_is_left_on():
    model = tiny_model()
    with visible_attention(model.module):
        pass
    assert all(block.attn.fused_attn for block in blocks_of(model))


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"fullgraph": True}], ids=["graph", "full graph"])
def test_compiled_models_are_recorded_as_plain_python(settings):
    model, compiled, graphs = tiny_model(), tiny_model(), []
    for block in blocks_of(compiled):
        block.compile(backend=lambda graph, inputs: graphs.append(graph) or graph.forward, **settings)
    np.testing.assert_array_equal(
        explorer.record(compiled, photo()).attention(2), explorer.record(model, photo()).attention(2)
    )
    assert not graphs
    with torch.no_grad():
        compiled.forward(compiled.preprocess(photo()))
    assert graphs, "the compiler must be back on"


def test_overlapping_recordings_let_the_compiler_on_only_at_the_end():
    module = tiny_model().module
    compiled = torch.compile(lambda x: x + torch.compiler.is_compiling(), backend="eager")
    first, second = visible_attention(module), visible_attention(module)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert compiled(torch.zeros(1)) == 0
    second.__exit__(None, None, None)
    assert compiled(torch.zeros(1)) == 1
