"""The classifier of a weights file: kept behind dropout or a norm, left out where layers hide between."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import explorer
from tests.models.test_formats import (
    PATCH,
    SIZE,
    WIDTH,
    Tensors,
    assert_equal,
    load,
    photo,
    plain,
    prefixed,
    randomise,
    transformers_model,
)


def linear() -> nn.Linear:
    return nn.Linear(WIDTH, 3)


HEADS: dict[str, Any] = {
    "linear": linear,
    "linear without bias": lambda: nn.Linear(WIDTH, 3, bias=False),
    "sequential": lambda: nn.Sequential(linear()),
    "dropout": lambda: nn.Sequential(nn.Dropout(0.5), linear()),
    "layer norm": lambda: nn.Sequential(nn.LayerNorm(WIDTH), nn.Dropout(0.5), linear()),
    "batch norm": lambda: nn.Sequential(nn.BatchNorm1d(WIDTH), linear()),
    "MAE's linear probe": lambda: nn.Sequential(nn.BatchNorm1d(WIDTH, affine=False, eps=1e-6), linear()),
}


def with_head(head: nn.Module) -> Any:
    reference = plain()
    reference.head = head
    randomise(head)
    for part in head.modules():
        if isinstance(part, nn.BatchNorm1d):
            nn.init.normal_(part.get_buffer("running_mean"))
            nn.init.uniform_(part.get_buffer("running_var"), 0.5, 2)
    return reference.eval()


@pytest.mark.parametrize("name", HEADS)
def test_a_linear_classifier_keeps_its_classes(name, tmp_path):
    reference = with_head(HEADS[name]())
    model = load(reference.state_dict(), tmp_path)
    pixels = model.preprocess(photo())
    logits = model.forward(pixels)[1]
    assert logits is not None and logits.shape == (1, 3)
    with torch.no_grad():
        torch.testing.assert_close(logits, reference(pixels), atol=1e-5, rtol=0)


@pytest.mark.parametrize("head", ["linear", "dropout"])
def test_torchvision_heads_that_tutorials_replace(head, tmp_path):
    from torchvision.models import VisionTransformer as TorchvisionViT

    reference: Any = TorchvisionViT(SIZE, PATCH, 2, 2, WIDTH, 96)
    reference.heads = HEADS[head]()
    randomise(reference)
    model = load(reference.state_dict(), tmp_path)
    pixels = model.preprocess(photo())
    with torch.no_grad():
        torch.testing.assert_close(model.forward(pixels)[1], reference(pixels), atol=1e-4, rtol=0)


def deep() -> nn.Module:
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), linear())


def test_a_hidden_layer_leaves_no_classes(tmp_path):
    reference = with_head(deep())
    model = load(reference.state_dict(), tmp_path)
    assert model.forward(model.preprocess(photo()))[1] is None and model.class_names is None
    assert any("more than one linear layer (head.0, head.2)" in note for note in model.notes)


@pytest.mark.parametrize("beside", ["fc1", "pre_logits", "bottleneck.0"])
def test_a_layer_between_backbone_and_classifier_leaves_no_classes(beside, tmp_path):
    layer, head = nn.Linear(WIDTH, WIDTH), linear()
    content = {
        **prefixed("backbone.", plain(num_classes=0).state_dict()),
        **prefixed(f"{beside}.", layer.state_dict()),
        **prefixed("fc.", head.state_dict()),
    }
    model = load(content, tmp_path)
    assert model.forward(model.preprocess(photo()))[1] is None
    assert any("stands before the classifier" in note and beside in note for note in model.notes)


def test_a_layer_after_the_backbones_own_head_leaves_no_classes(tmp_path):
    after = nn.Linear(5, 3)
    content = {**prefixed("vit.", plain().state_dict()), **prefixed("classifier.", after.state_dict())}
    model = load(content, tmp_path)
    assert model.forward(model.preprocess(photo()))[1] is None
    assert any("classifier.weight" in note and "left out" in note for note in model.notes)


def wrapped_torchvision() -> Tensors:
    from torchvision.models import VisionTransformer as TorchvisionViT

    vit: Any = TorchvisionViT(SIZE, PATCH, 2, 2, WIDTH, 96, num_classes=7)
    return prefixed("vit.", vit.state_dict()) | prefixed("fc.", nn.Linear(7, 3).state_dict())


def wrapped_transformers() -> Tensors:
    vit = transformers_model("vit")
    return prefixed("net.hf.", vit.state_dict()) | prefixed("classifier.", nn.Linear(5, 3).state_dict())


def two_layers_beside() -> Tensors:
    backbone = prefixed("backbone.", plain(num_classes=0).state_dict())
    head, fc = nn.Linear(WIDTH, 16), nn.Linear(16, 3)
    return backbone | prefixed("head.", head.state_dict()) | prefixed("classifier.", fc.state_dict())


def two_layers_inside() -> Tensors:
    return plain(num_classes=16).state_dict() | prefixed("classifier.", nn.Linear(16, 3).state_dict())


def outside_of_the_wrapper() -> Tensors:
    return prefixed("net.vit.", plain().state_dict()) | prefixed("arcface.", {"weight": torch.randn(9, 5)})


AFTER = [wrapped_torchvision, wrapped_transformers, two_layers_beside, two_layers_inside, outside_of_the_wrapper]


@pytest.mark.parametrize("content", AFTER)
def test_a_layer_behind_what_looks_like_the_classifier_leaves_no_classes(content, tmp_path):
    model = load(content(), tmp_path)
    assert model.forward(model.preprocess(photo()))[1] is None and model.class_names is None
    assert any("reads what the first gives" in note and "left out" in note for note in model.notes)


@pytest.mark.parametrize("between", ["scale", "logit_scale", "temperature", "norm.weight"])
def test_a_scale_beside_the_classifier_leaves_no_classes(between, tmp_path):
    value = torch.ones(WIDTH) if between in ("scale", "norm.weight") else torch.tensor(2.0)
    content = prefixed("vit.", plain(num_classes=0).state_dict()) | prefixed("fc.", linear().state_dict())
    model = load(content | {between: value}, tmp_path)
    assert model.forward(model.preprocess(photo()))[1] is None
    assert any(f"{between} acts on the classifier" in note for note in model.notes)
    calibrated = load(prefixed("model.", plain().state_dict()) | {"temperature": torch.ones(1)}, tmp_path)
    assert calibrated.forward(calibrated.preprocess(photo()))[1] is None


def test_a_norm_in_the_wrapper_stands_before_the_classifier(tmp_path):
    backbone, norm, head = plain(num_classes=0), randomise(nn.LayerNorm(WIDTH)), linear()
    content = {
        **prefixed("backbone.", backbone.state_dict()),
        **prefixed("norm.", norm.state_dict()),
        **prefixed("classifier.", head.state_dict()),
    }
    model = load(content, tmp_path)
    pixels = model.preprocess(photo())
    with torch.no_grad():
        torch.testing.assert_close(model.forward(pixels)[1], head(norm(backbone(pixels))), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["dropout", "layer norm"])
def test_a_timm_folder_keeps_a_classifier_behind_dropout_or_a_norm(name, tmp_path):
    reference = with_head(HEADS[name]())
    folder_of(reference, tmp_path)
    model = explorer.load_model(tmp_path, device="cpu")
    pixels = model.preprocess(photo())
    with torch.no_grad():
        torch.testing.assert_close(model.forward(pixels)[1], reference(pixels), atol=1e-5, rtol=0)


def test_a_timm_folder_with_a_hidden_layer_has_no_classes(tmp_path):
    folder_of(with_head(nn.Sequential(nn.Linear(WIDTH, 8), nn.ReLU(), nn.Linear(8, 3))), tmp_path)
    model = explorer.load_model(tmp_path, device="cpu")
    assert model.forward(model.preprocess(photo()))[1] is None
    assert any("more than one linear layer (head.0, head.2)" in note for note in model.notes)


def folder_of(reference: Any, folder: Path) -> None:
    shape = {"img_size": SIZE, "patch_size": PATCH, "embed_dim": WIDTH, "depth": 2, "num_heads": 2, "mlp_ratio": 4}
    pixels = {"input_size": [3, SIZE, SIZE], "mean": [0.5] * 3, "std": [0.5] * 3}
    config = {"architecture": "test_vit", "num_classes": 3, "model_args": shape, "pretrained_cfg": pixels}
    (folder / "config.json").write_text(json.dumps(config))
    save_file(reference.state_dict(), folder / "model.safetensors")


@pytest.mark.parametrize("name", ["linear", "mlp_head", "cls_head", "classification_head", "out"])
def test_a_linear_classifier_under_another_usual_name(name, tmp_path):
    reference = plain()
    tensors = prefixed("vit.", {key: t for key, t in reference.state_dict().items() if not key.startswith("head.")})
    head = {f"{name}.weight": reference.head.weight.data, f"{name}.bias": reference.head.bias.data}
    assert_equal(load(tensors | head, tmp_path), reference)


@pytest.mark.parametrize("behind", [1, 2])
@pytest.mark.parametrize("scope", ["", "model."])
def test_a_linear_classifier_in_a_sequence_with_its_backbone(behind, scope, tmp_path):
    reference = plain()
    tensors = {key: t for key, t in reference.state_dict().items() if not key.startswith("head.")}
    head = {f"{scope}{behind}.weight": reference.head.weight.data, f"{scope}{behind}.bias": reference.head.bias.data}
    model = load(prefixed(f"{scope}0.", tensors) | head, tmp_path)
    assert_equal(model, reference)
    words = "What stands before the classifier" if behind == 2 else "what stands behind it"
    assert any(words in note for note in model.notes)


def test_a_hidden_layer_in_a_sequence_with_its_backbone_leaves_no_classes(tmp_path):
    tensors = {key: t for key, t in plain().state_dict().items() if not key.startswith("head.")}
    hidden = {"1.weight": torch.randn(32, WIDTH), "3.weight": torch.randn(5, 32)}
    model = load(prefixed("0.", tensors) | hidden, tmp_path)
    assert model.class_names is None and model.forward(torch.zeros(1, 3, 64, 64))[1] is None
