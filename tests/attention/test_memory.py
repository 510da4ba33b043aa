"""What a pass with gradients is said to keep, beside what autograd really keeps."""

import pytest
import torch

import explorer
from explorer.attention.memory import kept_bytes
from explorer.attention.scores import score_of
from explorer.attention.trace import traced
from explorer.models.timm_models import wrap_timm
from tests.models.test_families import sharpen, small_timm
from tests.tiny import photo

NAMES = ("vit_small_patch16_224", "deit3_small_patch16_224", "eva02_tiny_patch14_224", "vit_giant_patch14_dinov2",
         "vit_small_patch16_dinov3", "vit_small_plus_patch16_dinov3")  # fmt: skip


def really_kept(recording: explorer.Recording, balanced: bool) -> int:
    """Bytes of all that a pass saves for its gradient, without the model's own weights."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in recording.model.module.parameters()}
    saved: dict[int, torch.Tensor] = {}

    def save(tensor: torch.Tensor) -> torch.Tensor:
        saved.setdefault(tensor.untyped_storage().data_ptr(), tensor)  # holds it, so that no other gets its place
        return tensor

    target = {"similar_to": (0, 0)} if recording.logits is None else {}
    with (
        torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor),
        traced(recording, score_of(recording, **target), balanced),
    ):
        return sum(tensor.untyped_storage().nbytes() for place, tensor in saved.items() if place not in weights)


@pytest.mark.parametrize("balanced", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_the_estimate_covers_what_is_kept_and_little_more(name, balanced):
    model = wrap_timm(small_timm(name), name)
    sharpen(model.module)
    recording = explorer.record(model, photo(224, 224))
    expected, kept = kept_bytes(model, len(recording.tokens)), really_kept(recording, balanced)
    assert 0.9 * kept <= expected <= 2.2 * kept, kept / (4 * len(recording.tokens) * model.width * model.depth)
