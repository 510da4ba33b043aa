"""Photos fitted and normalised as the libraries' own pipelines do it: probabilities equal theirs."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data.config import resolve_model_data_config
from timm.data.transforms_factory import create_transform
from torch.testing import assert_close

import explorer
from explorer.errors import ImageError
from explorer.evaluation.predict import predict
from explorer.models.geometry import Geometry
from explorer.models.timm_models import wrap_timm
from tests.tiny import photo, tiny_model

TOLERANCE = 1e-3
WIDE, TALL = (301, 128), (97, 230)
PLAIN = {"size": {"height": 32, "width": 32}, "do_resize": True}
PROCESSORS: dict[str, dict[str, Any]] = {
    "squash": {"image_processor_type": "ViTImageProcessor", **PLAIN},
    "squash bicubic": {"image_processor_type": "ViTImageProcessor", **PLAIN, "resample": 3},
    "nearest": {"image_processor_type": "ViTImageProcessor", **PLAIN, "resample": 0},
    "old names": {"feature_extractor_type": "ViTFeatureExtractor", "size": 32, "do_resize": True},
    "squash, then crop": {
        "image_processor_type": "DeiTImageProcessor", "size": {"height": 41, "width": 41},
        "do_center_crop": True, "crop_size": {"height": 32, "width": 32},
    },
    "resize, then crop": {
        "image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 37}, "do_center_crop": True,
        "crop_size": {"height": 32, "width": 32}, "image_mean": [0.4, 0.5, 0.3], "image_std": [0.2, 0.25, 0.3],
    },
    "short side": {
        "image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 32}, "crop_size": 32,
    },
    "ConvNeXT's": {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 32}, "crop_pct": 0.8},
    "no mean": {"image_processor_type": "ViTImageProcessor", **PLAIN, "do_normalize": False},
    "another scale": {"image_processor_type": "ViTImageProcessor", **PLAIN, "rescale_factor": 1 / 127.5},
    "no scale": {
        "image_processor_type": "ViTImageProcessor", **PLAIN, "do_rescale": False,
        "image_mean": [120.0, 110.0, 100.0], "image_std": [60.0, 55.0, 50.0],
    },
}  # fmt: skip


def noisy(size):
    """A photo with edges and colours everywhere, so that a shift or another filter changes it."""
    draw = np.random.default_rng(sum(size))
    return (
        photo(*size)
        if size[0] == size[1]
        else Image.fromarray(draw.integers(0, 256, (size[1] // 6 + 1, size[0] // 6 + 1, 3), dtype=np.uint8)).resize(
            size, Image.Resampling.BICUBIC
        )
    )


@pytest.fixture(scope="module")
def vit_folder(tmp_path_factory):
    """A transformers ViT of random weights whose classes differ from photo to photo."""
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    settings: Any = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96}
    settings |= {"image_size": 32, "patch_size": 8, "num_labels": 4}
    module: Any = ViTForImageClassification(ViTConfig(**settings))
    with torch.no_grad():
        module.classifier.weight.normal_(std=0.4)
    folder = tmp_path_factory.mktemp("vit")
    module.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("size", [WIDE, TALL])
@pytest.mark.parametrize("name", PROCESSORS)
def test_probabilities_are_those_of_transformers_own_pipeline(name, size, vit_folder):
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    (vit_folder / "preprocessor_config.json").write_text(json.dumps(PROCESSORS[name]))
    image = noisy(size)
    pixels = AutoImageProcessor.from_pretrained(vit_folder)(image, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        logits = AutoModelForImageClassification.from_pretrained(vit_folder).eval()(pixels).logits
    expected = logits.softmax(-1).numpy()
    model = explorer.load_model(vit_folder, device="cpu")
    assert model.notes == ()
    np.testing.assert_allclose(predict(model, [image]).probabilities, expected, atol=TOLERANCE)
    assert explorer.record(model, image).probabilities == pytest.approx(expected[0], abs=TOLERANCE)
    if model.own_fit != "own":  # what the app begins with
        recorded = explorer.record(model, image, model.input_size, model.own_fit)
        assert recorded.probabilities == pytest.approx(expected[0], abs=TOLERANCE)


@pytest.mark.parametrize("beside", [False, True])
def test_a_processor_that_transformers_saved_with_its_text_half(beside, tmp_path):
    """Since release 5 processors of CLIP and SigLIP lie inside processor_config.json, which counts before the other."""
    from transformers import AutoImageProcessor, SiglipConfig, SiglipForImageClassification

    torch.manual_seed(0)
    shape: Any = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96}
    settings: Any = {"vision_config": {**shape, "image_size": 32, "patch_size": 8}, "num_labels": 4}
    module: Any = SiglipForImageClassification(SiglipConfig(**settings)).eval()
    with torch.no_grad():
        module.classifier.weight.normal_(std=0.4)
    module.save_pretrained(tmp_path)
    inside = {"image_processor_type": "SiglipImageProcessor", **PLAIN, "image_mean": [0.4, 0.5, 0.3]}
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": inside}))
    if beside:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps({**inside, "do_normalize": False}))
    image = noisy(WIDE)
    pixels = AutoImageProcessor.from_pretrained(tmp_path)(image, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        expected = module(pixels).logits.softmax(-1).numpy()
    np.testing.assert_allclose(
        predict(explorer.load_model(tmp_path, device="cpu"), [image]).probabilities, expected, atol=TOLERANCE
    )


CONFIGS: dict[str, dict[str, Any]] = {
    "centre of 0.9": {"crop_pct": 0.9},
    "centre of 0.875, bilinear": {"crop_pct": 0.875, "interpolation": "bilinear"},
    "whole": {"crop_pct": 1.0},
    "squash": {"crop_pct": 1.0, "crop_mode": "squash"},
    "squash, then crop": {"crop_pct": 0.9, "crop_mode": "squash"},
    "other colours": {"crop_pct": 0.95, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)},
}


def timm_module(sides=(32, 32), **config):
    torch.manual_seed(0)
    module: Any = timm.create_model(
        "vit_tiny_patch16_224", img_size=sides, patch_size=8, depth=2, embed_dim=64, num_heads=2, num_classes=4,
        dynamic_img_size=config.pop("dynamic_img_size", True),
    )  # fmt: skip
    with torch.no_grad():
        module.head.weight.normal_(std=0.4)
    module.pretrained_cfg = {**module.pretrained_cfg, "input_size": (3, *sides), "tag": None, **config}
    return module.eval()


def timms_own(module, image):
    """Probabilities of timm's transform and model."""
    transform: Any = create_transform(**resolve_model_data_config(module), is_training=False)
    with torch.no_grad():
        return module(transform(image)[None]).softmax(-1).numpy()


@pytest.mark.parametrize("size", [WIDE, TALL])
@pytest.mark.parametrize("name", CONFIGS)
def test_probabilities_are_those_of_timms_own_pipeline(name, size):
    module, image = timm_module(**CONFIGS[name]), noisy(size)
    expected = timms_own(module, image)
    model = wrap_timm(module, "timm:own")
    np.testing.assert_allclose(predict(model, [image]).probabilities, expected, atol=TOLERANCE)
    assert explorer.record(model, image).probabilities == pytest.approx(expected[0], abs=TOLERANCE)


@pytest.mark.parametrize("mode", ["center", "squash"])
@pytest.mark.parametrize("share", [1.0, 0.8])
@pytest.mark.parametrize("size", [WIDE, TALL])
def test_an_oblong_model_of_timm_has_its_own_probabilities(mode, share, size):
    module, image = timm_module((24, 48), crop_pct=share, crop_mode=mode, dynamic_img_size=False), noisy(size)
    expected = timms_own(module, image)
    assert_close(torch.from_numpy(predict(wrap_timm(module, "timm:own"), [image]).probabilities),
                 torch.from_numpy(expected), atol=TOLERANCE, rtol=0)  # fmt: skip


def test_a_rim_that_makes_no_patch_is_left_out_at_the_right_and_below():
    image = noisy(WIDE)
    model = wrap_timm(timm_module(crop_pct=0.9, input_size=(3, 36, 36)), "timm:own")
    transform: Any = create_transform(36, interpolation="bicubic", mean=model.mean, std=model.std, crop_pct=0.9)
    whole = transform(image)
    assert model.preprocess(image).shape[-2:] == (32, 32)
    assert_close(model.preprocess(image)[0], whole[:, :32, :32], atol=0.05, rtol=0)


def test_at_another_size_the_same_share_is_cut():
    own = Geometry((256, 256), (224, 224), (224, 224))
    assert own.at(112) == Geometry((128, 128), (112, 112), (112, 112))
    assert own.box((400, 200)) == pytest.approx(own.at(448).box((400, 200)), abs=0.005)
    assert own.box((400, 200)) == pytest.approx((0.28125, 0.0625, 0.71875, 0.9375))


@pytest.mark.parametrize(
    ("geometry", "fit"),
    [
        (None, "crop"),
        (Geometry.whole((64, 64), squash=False), "crop"),
        (Geometry.whole((64, 64), squash=True), "squash"),
        (Geometry((72, 72), (64, 64), (64, 64)), "own"),
        (Geometry((72, 72), (64, 64), (64, 64), squash=True), "own"),
    ],
)
def test_own_is_the_default_and_crop_keeps_its_meaning(geometry, fit):
    usual, image = tiny_model(), noisy(WIDE)
    model = replace(usual, geometry=geometry)
    assert model.own_fit == fit
    assert torch.equal(model.preprocess(image, fit="crop"), usual.preprocess(image))
    assert torch.equal(model.preprocess(image), model.preprocess(image, 64, "own"))
    if fit != "own":
        assert torch.equal(model.preprocess(image), model.preprocess(image, 64, fit))


def test_the_part_of_the_photo_is_what_the_geometry_keeps():
    geometry = Geometry((80, 80), (64, 64), (64, 64))
    part = geometry.part(noisy((400, 200)))
    assert part.size == (160, 160)  # four fifths of the short side
    again = np.array(part.resize((64, 64), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(again - np.array(geometry.apply(noisy((400, 200)), "bicubic"))).mean() < 4


def test_settings_that_transformers_can_not_use_are_noted(vit_folder):
    (vit_folder / "preprocessor_config.json").write_text('{"image_processor_type": "NoSuchProcessor", "size": [1]}')
    model = explorer.load_model(vit_folder, device="cpu")
    assert "transformers can't use preprocessor_config.json" in model.notes[-1] and model.mean == (0.5, 0.5, 0.5)


def test_a_model_of_very_many_positions_is_not_recorded_at_its_own_size():
    model = replace(tiny_model(), input_size=1024, geometry=Geometry.whole((1024, 1024), squash=True))
    for fit in ("own", "squash", "crop"):
        with pytest.raises(ImageError, match=r"1024x1024 pixels make 16,384 patches, the limit is 10,000"):
            explorer.record(model, noisy(WIDE), fit=fit)
    assert explorer.record(model, noisy(WIDE), size=64).grid == (8, 8)


OTHERS: dict[str, dict[str, Any]] = {
    "another short side": {
        "image_processor_type": "LevitImageProcessor",
        "size": {"shortest_edge": 32},
        "crop_size": 32,
    },
    "an oblong": {"image_processor_type": "ViTImageProcessor", "size": {"height": 40, "width": 32}},
    "any shape": {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 32}, "do_center_crop": False},
    "no size of its own": {"image_processor_type": "GLPNImageProcessor", "size_divisor": 16},
    "parts": {"image_processor_type": "IdeficsImageProcessor", "image_size": 32},
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_a_processor_does_otherwise_is_noted(name, vit_folder):
    (vit_folder / "preprocessor_config.json").write_text(json.dumps(OTHERS[name]))
    notes = explorer.load_model(vit_folder, device="cpu").notes
    assert [note for note in notes if "transformers' own pipeline gives other probabilities" in note]


def test_what_a_fit_cuts_off_is_a_share_of_the_photo():
    crop, squash = Geometry.whole((64, 64), squash=False), Geometry.whole((64, 64), squash=True)
    assert crop.cut_off((400, 100)) == pytest.approx(0.75) and crop.cut_off((64, 64)) == pytest.approx(0)
    assert squash.cut_off((400, 100)) == 0
    assert Geometry((256, 256), (224, 224), (224, 224)).cut_off((400, 200)) == pytest.approx(1 - 0.4375 * 0.875)


def test_what_timm_would_pad_is_noted():
    module = timm_module((90, 90))
    assert wrap_timm(module, "timm:own").geometry is not None
    module.patch_embed.dynamic_img_pad = True
    model = wrap_timm(module, "timm:own")
    assert model.geometry is None and "dynamic_img_pad" in model.notes[-1]
