"""Weights of timm's other families are told from their shapes, and without building every model that timm lists."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import timm
import torch

import explorer
from explorer.errors import CheckpointError
from explorer.models.formats import recognition
from explorer.models.formats.dialects import DIALECTS
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
    recognition.shapes_of.cache_clear()
    yield built
    recognition.shapes_of.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "eva02_tiny_patch14_336",
        "vit_relpos_small_patch16_224",
        "vit_small_patch16_rope_mixed_224",  # its rope.freqs has one entry per block
        "vit_small_patch16_dinov3",
    ],
)
def test_the_one_architecture_with_these_shapes_is_found_by_one_block_first(name, whole):
    assert recognition.recognise(shapes_on_paper(name), "file") == name
    listed = sum(len(timm.list_models(module=family)) for family in recognition.FAMILIES[""])
    assert len(whole) <= 6 < listed / 10, whole


@pytest.mark.slow
def test_several_with_the_same_shapes_are_named(whole):
    with pytest.raises(CheckpointError, match="could be beit_base_patch16_224, beitv2_base_patch16_224: say which"):
        recognition.recognise(shapes_on_paper("beit_base_patch16_224"), "file")


@pytest.mark.slow
def test_shapes_of_none_ask_for_the_architecture(whole):
    tensors = shapes_on_paper("eva02_tiny_patch14_224")
    tensors["blocks.3.attn.proj.weight"] = torch.empty(5, 5, device="meta")
    with pytest.raises(CheckpointError, match="none of timm's other families has its tensors"):
        recognition.recognise(tensors, "file")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["eva02_tiny_patch14_224", "vit_tiny_r_s16_p8_224", "vit_relpos_small_patch16_224"])
def test_what_no_file_holds_is_computed_in_an_empty_model(name):
    built, empty = create_timm(name), create_empty(name)
    loaded = built.state_dict().keys()
    own = dict(empty.named_buffers())
    for key, buffer in built.named_buffers():
        if key not in loaded:
            torch.testing.assert_close(own[key], buffer, atol=0, rtol=0)
    assert own.keys() == dict(built.named_buffers()).keys()


def own_names(tensors: dict[str, torch.Tensor], biased: bool) -> dict[str, torch.Tensor]:
    """timm's tensors of a DINOv3 under the names of its authors' files."""
    named = {
        re.sub(r"gamma_([12])", r"ls\1.gamma", key.replace("reg_token", "storage_tokens")): tensor
        for key, tensor in tensors.items()
        if not key.endswith("_bias")
    }
    width = tensors["norm.weight"].shape[0]
    for layer in range(12):
        block = f"blocks.{layer}.attn"
        zero = torch.zeros(width)
        parts = (tensors[f"{block}.q_bias"], zero, tensors[f"{block}.v_bias"]) if biased else (zero, zero, zero)
        named |= {f"{block}.qkv.bias": torch.cat(parts), f"{block}.qkv.bias_mask": torch.ones(3 * width)}
    return named | {"mask_token": torch.zeros(1, width), "rope_embed.periods": torch.ones(16, dtype=torch.bfloat16)}


@pytest.mark.slow
@pytest.mark.parametrize("biased", [False, True])
def test_dinov3_under_its_own_names(biased, tmp_path):
    name = "vit_small_patch16_dinov3" + ("_qkvb" if biased else "")
    torch.manual_seed(0)
    reference: Any = create_timm(name, num_classes=0).eval()
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    torch.save(own_names(reference.state_dict(), biased), tmp_path / "own.pth")
    model = explorer.load_model(tmp_path / "own.pth", device="cpu", arch=name if biased else None)
    assert model.prefix_tokens == ("cls", "reg1", "reg2", "reg3", "reg4")
    assert model.notes == ("Left out, because a backbone has no place for it: mask_token.",)
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model.forward(pixels)[0], reference.forward_features(pixels), atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["vit_small_patch16_dinov3", "beit_base_patch16_224", "eva_giant_patch14_224", "vit_relpos_small_patch16_224"],
)
def test_names_of_the_relatives_are_left_as_timm_has_them(name):
    tensors = shapes_on_paper(name)
    assert DIALECTS[0].convert(tensors).keys() == tensors.keys()
