"""What a pass with gradients is said to keep, beside what autograd really keeps."""

from typing import Any

import pytest
import torch
from timm.layers.mlp import SwiGLU, SwiGLUPacked
from torch import nn

import explorer
from explorer.attention.limits import kept_bytes
from explorer.attention.scores import score_of
from explorer.attention.trace import open_trace
from tests.tiny import photo, tiny_model

MLPS: dict[str, dict[str, Any]] = {
    "plain": {},
    "SwiGLU": {"mlp_layer": SwiGLU, "mlp_ratio": 8 / 3},
    "SwiGLU in one matrix": {"mlp_layer": SwiGLUPacked, "mlp_ratio": 6, "act_layer": nn.SiLU},
}


def really_kept(recording: explorer.Recording, balanced: bool) -> int:
    """Bytes of all that a pass saves for its gradient, without the model's own weights."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in recording.model.module.parameters()}
    saved: dict[int, torch.Tensor] = {}

    def save(tensor: torch.Tensor) -> torch.Tensor:
        saved.setdefault(tensor.untyped_storage().data_ptr(), tensor)  # holds it, so that no other gets its place
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor),
        open_trace(recording, score_of(recording), balanced),
    ):
        return sum(tensor.untyped_storage().nbytes() for place, tensor in saved.items() if place not in weights)


@pytest.mark.parametrize("balanced", [True, False])
@pytest.mark.parametrize("mlp", MLPS)
def test_the_estimate_covers_what_is_kept_and_little_more(mlp, balanced):
    """Of four blocks more: what comes before and after them is small beside those of a real model."""
    expected, kept = [], []
    for depth in (1, 5):
        model = tiny_model(depth=depth, **MLPS[mlp])
        recording = explorer.record(model, photo(), size=128)
        expected.append(kept_bytes(model, len(recording.tokens)))
        kept.append(really_kept(recording, balanced))
    blocks = kept[1] - kept[0]
    assert blocks <= expected[1] - expected[0] <= 1.6 * blocks
