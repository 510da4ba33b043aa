"""Models of one, two or four channels see photos as their own code would, given grey or zeros."""

import json
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

import explorer
from explorer.errors import CheckpointError, UnsupportedModelError
from tests.models.test_formats import load, photo, plain, prefixed

NOTES = {1: "reduced to grey", 2: "the second zeros", 4: "the fourth gets zeros"}


def own_channels(pixels: torch.Tensor, channels: int) -> torch.Tensor:
    """RGB pixels as a model of those channels takes them; grey by ITU-R 601."""
    if channels == 4:
        return torch.cat([pixels, torch.zeros_like(pixels[:, :1])], dim=1)
    grey = (pixels * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    return grey if channels == 1 else torch.cat([grey, torch.zeros_like(grey)], dim=1)


@pytest.mark.parametrize("channels", NOTES)
def test_a_file_of_other_channels(channels, tmp_path):
    reference = plain(in_chans=channels)
    model = load(reference.state_dict(), tmp_path)
    pixels = model.preprocess(photo())
    with torch.no_grad():
        expected = reference(own_channels(pixels, channels))
    torch.testing.assert_close(model.forward(pixels)[1], expected, atol=1e-5, rtol=0)
    assert any(NOTES[channels] in note for note in model.notes)


def test_a_grey_photo_is_fed_as_it_is(tmp_path):
    reference = plain(in_chans=1)
    model = load(reference.state_dict(), tmp_path)
    grey = photo().convert("L").resize((64, 64))
    values = torch.from_numpy(np.array(grey)).float()[None, None] / 255
    with torch.no_grad():
        expected = reference((values - model.mean[0]) / model.std[0])
    assert len({*model.mean}) == 1
    recording = explorer.record(model, Image.merge("RGB", (grey, grey, grey)), size=64)
    torch.testing.assert_close(torch.from_numpy(recording.logits)[None], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("channels", NOTES)
def test_a_timm_folder_of_other_channels(channels, tmp_path):
    reference = timm.create_model("test_vit", in_chans=channels, num_classes=3).eval()
    save_file(reference.state_dict(), tmp_path / "model.safetensors")
    pixels: dict[str, Any] = {"input_size": [channels, 160, 160], "mean": [0.5] * channels, "std": [0.25] * channels}
    pixels["fixed_input_size"] = True
    arguments = {"in_chans": channels}
    config = {"architecture": "test_vit", "num_classes": 3, "model_args": arguments, "pretrained_cfg": pixels}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = explorer.load_model(tmp_path, device="cpu")
    assert (model.mean, model.std) == ((0.5,) * 3, (0.25,) * 3)
    pixels_seen = model.preprocess(photo(), size=160)
    with torch.no_grad():
        expected = reference(own_channels(pixels_seen, channels))
    torch.testing.assert_close(model.forward(pixels_seen)[1], expected, atol=1e-5, rtol=0)


def test_a_transformers_folder_of_one_channel(tmp_path):
    import transformers

    from tests.models.test_loading import SMALL

    config = transformers.ViTConfig(**SMALL, num_channels=1)
    reference: Any = transformers.ViTForImageClassification(config).eval()
    reference.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0.2], "image_std": [0.3]}')
    model = explorer.load_model(tmp_path, device="cpu")
    assert model.mean == (0.2, 0.2, 0.2)
    pixels = model.preprocess(photo())
    with torch.no_grad():
        expected = reference(own_channels(pixels, 1)).logits
    torch.testing.assert_close(model.forward(pixels)[1], expected, atol=1e-5, rtol=0)


def test_more_channels_are_refused(tmp_path):
    with pytest.raises(UnsupportedModelError, match="takes 13 colour channels, photos have 3"):
        load(plain(in_chans=13).state_dict(), tmp_path)


@pytest.mark.parametrize("scale", [1, 255])
@pytest.mark.parametrize("names", [("normalize.mean", "normalize.std"), ("pixel_mean", "pixel_std")])
def test_a_layer_that_normalises_inside_the_model_says_mean_and_deviation(names, scale, tmp_path):
    values = {names[0]: torch.tensor([0.1, 0.2, 0.3]) * scale, names[1]: torch.tensor([0.5, 0.6, 0.7]) * scale}
    layer = {key: value.view(1, 3, 1, 1) for key, value in values.items()}
    model = load(prefixed("model.", plain().state_dict()) | layer, tmp_path)
    assert model.mean == pytest.approx((0.1, 0.2, 0.3)) and model.std == pytest.approx((0.5, 0.6, 0.7))
    assert not any("normalised" in note or "mean" in note for note in model.notes)


def test_a_layer_may_divide_pixels_up_to_255_alone(tmp_path):
    layer = {"normalize.mean": torch.zeros(3), "normalize.std": torch.full((3,), 255.0)}
    model = load(prefixed("model.", plain().state_dict()) | layer, tmp_path)
    assert model.mean == pytest.approx((0, 0, 0)) and model.std == pytest.approx((1, 1, 1))


@pytest.mark.parametrize("channels", [1, 4, 12])
def test_a_convolution_before_the_patches_is_no_ornament(channels, tmp_path):
    tensors = prefixed("vit.", plain().state_dict()) | {"to_rgb.weight": torch.randn(3, channels, 1, 1)}
    with pytest.raises(CheckpointError, match=r"convolution \(to_rgb.weight\) that seems to stand before its backbone"):
        load(tensors, tmp_path)
