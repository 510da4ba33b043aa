"""Weights of timm's other families are told from their shapes, and without building every model that timm lists."""

from collections.abc import Iterator

import pytest
import timm
import torch

from explorer.errors import CheckpointError
from explorer.models.formats import recognition
from explorer.models.timm_models import create_empty, create_timm


def shapes_on_paper(name: str) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        return create_timm(name, num_classes=0).state_dict()


@pytest.fixture
def whole(monkeypatch) -> Iterator[list[str]]:
    """The architectures that were built with all their blocks, in order."""
    built: list[str] = []

    def spied(name: str, **settings):
        if "depth" not in settings:
            built.append(name)
        return create_timm(name, **settings)

    monkeypatch.setattr(recognition, "create_timm", spied)
    recognition._shapes_of.cache_clear()
    yield built
    recognition._shapes_of.cache_clear()


@pytest.mark.parametrize(
    "name",
    [
        "eva02_tiny_patch14_336",
        "vit_relpos_small_patch16_224",
        "vit_small_patch16_rope_mixed_224",  # its rope.freqs has one entry a block
        "vit_small_patch16_dinov3",
    ],
)
def test_the_one_architecture_with_these_shapes_is_found_by_one_block_first(name, whole):
    assert recognition.recognise(shapes_on_paper(name), "file") == name
    listed = sum(len(timm.list_models(module=family)) for family in recognition.FAMILIES[""])
    assert len(whole) <= 6 < listed / 10, whole


def test_several_with_the_same_shapes_are_named(whole):
    with pytest.raises(CheckpointError, match="could be beit_base_patch16_224, beitv2_base_patch16_224: say which"):
        recognition.recognise(shapes_on_paper("beit_base_patch16_224"), "file")


def test_shapes_of_none_ask_for_the_architecture(whole):
    tensors = shapes_on_paper("eva02_tiny_patch14_224")
    tensors["blocks.3.attn.proj.weight"] = torch.empty(5, 5, device="meta")
    with pytest.raises(CheckpointError, match="none of timm's other families has its tensors"):
        recognition.recognise(tensors, "file")


@pytest.mark.parametrize("name", ["eva02_tiny_patch14_224", "vit_tiny_r_s16_p8_224", "vit_relpos_small_patch16_224"])
def test_what_no_file_holds_is_computed_in_an_empty_model(name):
    built, empty = create_timm(name), create_empty(name)
    loaded = built.state_dict().keys()
    own = dict(empty.named_buffers())
    for key, buffer in built.named_buffers():
        if key not in loaded:
            torch.testing.assert_close(own[key], buffer, atol=0, rtol=0)
    assert own.keys() == dict(built.named_buffers()).keys()
