"""load_model gives the library's own tokens and logits, whatever the source, and says what it assumed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import save_for_hf
from torch import nn

import explorer
from explorer.errors import CheckpointError, ModelError, UnsupportedModelError
from explorer.models.timm_models import create_timm, wrap_timm
from explorer.models.transformers_models import FAMILIES, create_transformers, wrap_transformers
from tests.conftest import REPOSITORY
from tests.tiny import photo, save_tiny, save_weights

SMALL: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 128,
    "image_size": 64,
}


def saved_timm(folder: Path, **config: Any) -> Any:
    torch.manual_seed(0)
    module = timm.create_model("test_vit", num_classes=3).eval()
    nn.init.normal_(module.get_parameter("head.weight"))
    save_for_hf(module, str(folder), model_config=config, safe_serialization=True)
    return module


def edit_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))


def test_a_folder_saved_by_timm(tmp_path):
    reference = saved_timm(tmp_path / "mine", label_names=["ant", "bee", "cat"])
    model = explorer.load_model(tmp_path / "mine", device="cpu")
    assert (model.name, model.class_names, model.notes) == ("mine", ["ant", "bee", "cat"], ())
    pixels = model.preprocess(photo())
    torch.testing.assert_close(model.forward(pixels)[1], reference(pixels).detach(), atol=1e-5, rtol=0)
    assert not model.module.training and not any(p.requires_grad for p in model.module.parameters())
    assert all(part.fused_attn for part in model.module.modules() if hasattr(part, "fused_attn"))


def test_a_folder_of_half_precision_without_num_classes_in_its_arguments(tmp_path):
    from safetensors.torch import load_file, save_file

    reference = saved_timm(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    save_file({key: tensor.half() for key, tensor in weights.items()}, tmp_path / "model.safetensors")
    arguments = json.loads((tmp_path / "config.json").read_text())["model_args"]
    edit_config(tmp_path, model_args={k: v for k, v in arguments.items() if k != "num_classes"})
    model = explorer.load_model(tmp_path, device="cpu")
    assert {p.dtype for p in model.module.parameters()} == {torch.float32}
    pixels = model.preprocess(photo())
    torch.testing.assert_close(model.forward(pixels)[1], reference(pixels).detach(), atol=2e-2, rtol=0)


def test_a_folder_of_the_older_flat_layout(tmp_path):
    reference = saved_timm(tmp_path)
    new = json.loads((tmp_path / "config.json").read_text())
    flat = {**new["pretrained_cfg"], "architecture": new["architecture"], "num_features": 64, "fixed_input_size": True}
    (tmp_path / "config.json").write_text(json.dumps(flat))
    model = explorer.load_model(tmp_path, device="cpu")
    pixels = model.preprocess(photo())
    torch.testing.assert_close(model.forward(pixels)[1], reference(pixels).detach(), atol=1e-5, rtol=0)


def test_a_config_can_not_point_elsewhere(tmp_path):
    saved_timm(tmp_path)
    arguments = json.loads((tmp_path / "config.json").read_text())["model_args"]
    edit_config(tmp_path, model_args={**arguments, "checkpoint_path": "/no/such/file.pth", "pretrained": True})
    assert explorer.load_model(tmp_path, device="cpu").depth == 6


def test_a_folder_whose_weights_do_not_fit(tmp_path):
    saved_timm(tmp_path)
    edit_config(tmp_path, num_classes=7)
    with pytest.raises(CheckpointError, match=r"head\.weight has shape \(3, 64\), expected \(7, 64\)"):
        explorer.load_model(tmp_path, device="cpu")


CLASSIFIERS = [
    "ViTForImageClassification",
    "DeiTForImageClassification",
    "DeiTForImageClassificationWithTeacher",
    "ViTMSNForImageClassification",
    "IJepaForImageClassification",
    "BeitForImageClassification",
    "Data2VecVisionForImageClassification",
    "Dinov2ForImageClassification",
    "Dinov2WithRegistersForImageClassification",
    "CLIPForImageClassification",
    "SiglipForImageClassification",
]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_of_transformers_give_their_own_logits(name, tmp_path):
    import transformers

    torch.manual_seed(0)
    cls = getattr(transformers, name)
    settings = {"num_labels": 3, "id2label": {0: "ant", 1: "bee", 2: "cat"}}
    shape: dict[str, Any] = {"vision_config": SMALL} if name.startswith(("CLIP", "Siglip")) else SMALL
    reference = cls(cls.config_class(**shape, **settings)).eval()
    nn.init.normal_(next(part for key, part in reference.named_modules() if key.endswith("classifier")).weight)
    reference.save_pretrained(tmp_path)
    model = explorer.load_model(tmp_path, device="cpu")
    assert model.class_names == ["ant", "bee", "cat"]
    pixels = model.preprocess(photo())
    with torch.no_grad():
        expected = reference(pixel_values=pixels).logits
    logits = model.forward(pixels)[1]
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)
    recording = explorer.record(model, photo(), size=2 * model.patch_size)
    assert recording.logits is not None and recording.depth == 2


def test_a_clip_folder_is_its_image_half_with_the_last_norm(tmp_path):
    import transformers

    reference = transformers.CLIPModel(transformers.CLIPConfig(vision_config=SMALL, text_config={"hidden_size": 64}))
    reference.eval().save_pretrained(tmp_path)
    model = explorer.load_model(tmp_path, device="cpu")
    pixels = model.preprocess(photo())
    with torch.no_grad():
        tokens, logits = model.forward(pixels)
        expected = reference.vision_model(pixel_values=pixels).pooler_output
    assert logits is None and model.class_names is None
    torch.testing.assert_close(tokens[:, 0], expected, atol=1e-5, rtol=0)
    assert any("text_model" in note for note in model.notes)


def test_a_masked_autoencoder_sees_every_patch_in_order():
    import transformers

    model = wrap_transformers(create_transformers("vit_mae", **SMALL), "hf:vit_mae")
    pixels = model.preprocess(photo())
    with torch.no_grad():
        first, second = model.forward(pixels)[0], model.forward(pixels)[0]
    torch.testing.assert_close(first, second)
    twin: Any = transformers.ViTModel(transformers.ViTConfig(**SMALL), add_pooling_layer=False).eval()
    twin.load_state_dict({**model.module.state_dict(), "embeddings.mask_token": torch.zeros(1, 1, 64)}, strict=False)
    with torch.no_grad():
        torch.testing.assert_close(first, twin(pixel_values=pixels).last_hidden_state, atol=1e-5, rtol=0)


def test_a_transformers_folder_with_a_missing_or_misshapen_tensor(tmp_path):
    import transformers
    from safetensors.torch import load_file, save_file

    transformers.ViTModel(transformers.ViTConfig(**SMALL)).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    key = next(key for key in weights if "layer.1" in key and "query.weight" in key)
    save_file({k: t for k, t in weights.items() if k != key}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"q_proj\.weight is missing"):
        explorer.load_model(tmp_path, device="cpu")
    save_file({**weights, key: torch.zeros(3, 3)}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"don't fit its config\.json"):
        explorer.load_model(tmp_path, device="cpu")
    save_file({**weights, key: weights[key] * float("nan")}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match="contains NaN"):
        explorer.load_model(tmp_path, device="cpu")


def test_a_type_of_transformers_with_random_weights():
    model = explorer.load_model("hf:dinov3_vit", device="cpu", pretrained=False)
    assert (model.depth, model.width, model.prefix_tokens) == (12, 384, ("cls",))


def test_types_that_are_no_plain_vit(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "swin"}')
    with pytest.raises(UnsupportedModelError, match=f"'swin' aren't supported.*{next(iter(FAMILIES))}"):
        explorer.load_model(tmp_path, device="cpu")
    with pytest.raises(UnsupportedModelError, match="bert"):
        explorer.load_model("hf:bert", device="cpu", pretrained=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, reason",
    [
        ("swin_tiny_patch4_window7_224", "shifted windows"),
        ("hiera_tiny_224", "pooled between stages"),
        ("xcit_nano_12_p16_224", "cross-covariance"),
        ("cait_xxs24_224", "talking heads"),
        ("samvit_base_patch16", "windows"),
        ("resnet18", "isn't a plain Vision Transformer"),
    ],
)
def test_refused_models_say_why(name, reason):
    with pytest.raises(UnsupportedModelError, match=reason):
        explorer.load_model(f"timm:{name}", device="cpu", pretrained=False)


def test_contrastive_models_have_a_projection_not_classes():
    settings: dict[str, Any] = {"depth": 1, "embed_dim": 64, "num_heads": 1}
    plain = wrap_timm(create_timm("vit_base_patch16_clip_224.openai", **settings), "x")
    tuned = wrap_timm(create_timm("vit_base_patch16_clip_224.openai_ft_in1k", **settings), "x")
    pixels = plain.preprocess(photo())
    assert plain.class_names is None and plain.forward(pixels)[1] is None
    assert tuned.class_names is not None and len(tuned.class_names) == 1000
    logits = tuned.forward(pixels)[1]
    assert logits is not None and logits.shape == (1, 1000)


def test_other_colour_channels_are_refused():
    with pytest.raises(UnsupportedModelError, match="4 colour channels"):
        wrap_timm(create_timm("test_vit", in_chans=4), "x")


def test_half_precision_of_transformers_is_widened(tmp_path):
    import transformers

    transformers.ViTModel(transformers.ViTConfig(**SMALL)).half().save_pretrained(tmp_path)
    model = explorer.load_model(tmp_path, device="cpu")
    assert {parameter.dtype for parameter in model.module.parameters()} == {torch.float32}


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("library", ["timm", "transformers"])
def test_a_folder_saved_out_of_a_wrapper(library, prefix, tmp_path):
    import transformers
    from safetensors.torch import load_file, save_file

    if library == "timm":
        save_tiny(tmp_path)
    else:
        transformers.ViTModel(transformers.ViTConfig(**SMALL)).save_pretrained(tmp_path)
    plain = explorer.load_model(tmp_path, device="cpu")
    weights = load_file(tmp_path / "model.safetensors")
    save_file({prefix + key: t for key, t in weights.items()}, tmp_path / "model.safetensors", {"format": "pt"})
    wrapped = explorer.load_model(tmp_path, device="cpu")
    for one, other in zip(plain.module.parameters(), wrapped.module.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)


@pytest.mark.parametrize(
    "settings",
    [
        {"_attn_implementation": "flash_attention_2"},
        {"attn_implementation": "somebodys/kernel"},
        {"dtype": "float8_e4m3fn"},
        {"torch_dtype": 3},
        {"quantization_config": {}},
    ],
)
def test_how_a_model_was_computed_is_no_part_of_it(settings, tmp_path):
    import transformers
    from safetensors.torch import load_file, save_file

    transformers.ViTModel(transformers.ViTConfig(**SMALL)).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | settings
    (tmp_path / "config.json").write_text(json.dumps(config))
    weights = {key: t.to(torch.float8_e4m3fn) for key, t in load_file(tmp_path / "model.safetensors").items()}
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    module = explorer.load_model(tmp_path, device="cpu").module
    loaded = dict(module.named_parameters())
    key = next(key for key in loaded if key.endswith("layernorm.weight"))
    torch.testing.assert_close(loaded[key], weights[key].float(), atol=0, rtol=0)


@pytest.mark.parametrize("device", ["cuda:99", "nonsense"])
def test_a_device_that_is_not_there(device):
    with pytest.raises(ModelError, match=f"no device '{device}'.*use cpu"):
        explorer.load_model("timm:test_vit", device=device, pretrained=False)


@pytest.mark.parametrize("source", ["", "nonsense", "vit_small_patch8_224", "/no/such/folder"])
def test_what_is_no_model(source):
    with pytest.raises(ModelError, match="isn't a model that the explorer knows"):
        explorer.load_model(source, device="cpu")


@pytest.mark.slow
def test_a_model_the_person_names(tmp_path):
    saved_timm(tmp_path)
    model = explorer.load_model(tmp_path / "model.safetensors", device="cpu", arch="test_vit")
    assert (model.num_heads, model.patch_size) == (2, 16)
    with pytest.raises(CheckpointError, match=r"is missing|has shape"):
        explorer.load_model(tmp_path / "model.safetensors", device="cpu", arch="vit_tiny_patch16_224")
    with pytest.raises(ModelError, match="timm has no model named vit_nonsense"):
        explorer.load_model(tmp_path / "model.safetensors", device="cpu", arch="vit_nonsense")


@pytest.mark.slow
def test_transformers_is_imported_only_when_asked_for():
    code = (
        "import sys, explorer; explorer.load_model('timm:test_vit', device='cpu', pretrained=False);"
        "sys.exit('transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0


@pytest.mark.parametrize(
    "hints,words",
    [
        ({"num_heads": 0}, "one head or more, not 0"),
        ({"num_heads": -2}, "one head or more, not -2"),
        ({"num_heads": 5}, "5 heads don't divide the width 192"),
        (
            {"arch": "vit_tiny_patch16_224", "num_heads": 5},
            "build vit_tiny_patch16_224 with num heads 5 .dim should be",
        ),
        ({"arch": "vit_tiny_patch16_224", "num_heads": -2}, "one head or more, not -2"),
        ({"arch": "hf-hub:someone/model"}, "hf-hub:someone/model isn't an architecture: give a timm name"),
    ],
)
def test_hints_that_can_not_be_right(tmp_path, hints, words):
    torch.save(timm.create_model("vit_tiny_patch16_224", depth=1).state_dict(), tmp_path / "weights.pth")
    with pytest.raises(ModelError, match=words):
        explorer.load_model(tmp_path / "weights.pth", device="cpu", **hints)


@pytest.mark.parametrize("name", ["ViTForImageClassification", "CLIPForImageClassification"])
def test_a_folder_whose_config_names_no_class_keeps_its_classifier(name, tmp_path):
    import transformers

    torch.manual_seed(0)
    cls = getattr(transformers, name)
    shape: dict[str, Any] = {"vision_config": SMALL} if name.startswith("CLIP") else SMALL
    reference = cls(cls.config_class(**shape, num_labels=3)).eval()
    reference.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "architectures"}))
    model = explorer.load_model(tmp_path, device="cpu")
    pixels = model.preprocess(photo())
    torch.testing.assert_close(model.forward(pixels)[1], reference(pixels).logits.detach(), atol=1e-5, rtol=0)


def test_a_folder_without_config_names_the_weights_to_give_instead(tmp_path):
    save_weights(tmp_path, "model.safetensors")
    (tmp_path / "optimizer.bin").write_bytes(b"x")
    with pytest.raises(
        CheckpointError, match=r"no config\.json: give its weights file, model\.safetensors, or a folder"
    ):
        explorer.load_model(tmp_path, device="cpu")
    assert explorer.load_model(tmp_path / "model.safetensors", device="cpu", num_heads=4).depth == 3
    for step in (500, 1000):
        save_tiny(tmp_path / f"checkpoint-{step}")
    with pytest.raises(CheckpointError, match=r"give one of the models in it, checkpoint-1000, checkpoint-500\."):
        explorer.load_model(tmp_path, device="cpu")


@pytest.mark.parametrize("tag", ["openai", None])
def test_a_clip_that_somebody_fine_tuned_has_classes_without_names(tag, tmp_path):
    torch.manual_seed(0)
    shape: dict[str, Any] = {"img_size": 64, "embed_dim": 64, "depth": 2, "num_heads": 2}
    module: Any = timm.create_model("vit_base_patch16_clip_224", num_classes=3, **shape).eval()
    save_for_hf(module, str(tmp_path), model_args=shape, safe_serialization=True)
    edit_config(tmp_path, pretrained_cfg={**module.pretrained_cfg, "tag": tag, "input_size": [3, 64, 64]})
    model = explorer.load_model(tmp_path, device="cpu")
    pixels = model.preprocess(photo())
    torch.testing.assert_close(model.forward(pixels)[1], module(pixels).detach(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("beside", ["pre_classifier", "projector.0", "norm"])
def test_a_layer_beside_the_classifier_of_a_transformers_folder_leaves_no_classes(beside, tmp_path):
    import transformers
    from safetensors.torch import load_file, save_file

    settings = transformers.ViTConfig(**SMALL)
    settings.num_labels = 3
    reference: Any = transformers.ViTForImageClassification(settings)
    reference.save_pretrained(tmp_path)
    width = (64, 64) if beside != "norm" else (64,)
    tensors = load_file(tmp_path / "model.safetensors") | {f"{beside}.weight": torch.randn(width)}
    save_file(tensors, tmp_path / "model.safetensors")
    model = explorer.load_model(tmp_path, device="cpu")
    assert model.forward(model.preprocess(photo()))[1] is None and model.class_names is None
    assert any(f"A layer ({beside}.weight) stands beside the classifier" in note for note in model.notes)


def test_a_timm_folder_of_an_older_release_is_shown_at_the_size_that_timm_reads(tmp_path):
    """It names the size in model_args alone, and leaves that of the weights it began with in pretrained_cfg."""
    module = timm.create_model("vit_tiny_patch16_224", num_classes=3, depth=1, img_size=96)
    timm.models.save_for_hf(module, tmp_path, safe_serialization=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config["pretrained_cfg"] |= {"input_size": [3, 224, 224], "fixed_input_size": True}
    (tmp_path / "config.json").write_text(json.dumps(config))
    own: Any = timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    model = explorer.load_model(tmp_path, device="cpu")
    assert own.pretrained_cfg["input_size"] == (3, 96, 96)
    assert model.geometry is not None and model.input_shape == (96, 96) == model.geometry.input
