"""A weights file whose position embeddings form no square: its grid is told to library, commands and app."""

import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer

import explorer
from explorer import paths
from explorer.cli import main
from explorer.errors import ModelError, UntoldError
from explorer.models.source import ModelSource
from explorer.models.token_layout import read_grid
from explorer.ui.attention_pictures import attention_picture
from tests.app import open_app, sentences
from tests.tiny import photo
from tests.training_help import make_dataset

NAME = "oblong.safetensors"


def oblong() -> Any:
    """A ViT trained, as it were, on 6 rows and 10 columns of patches."""
    torch.manual_seed(0)
    settings: dict[str, Any] = {"embed_dim": 64, "depth": 2, "num_heads": 1, "num_classes": 3, "dynamic_img_size": True}
    module: Any = VisionTransformer(img_size=(48, 80), patch_size=8, **settings).eval()
    with torch.no_grad():
        module.pos_embed.mul_(50)  # so that places matter
        for block in module.blocks:
            block.attn.qkv.weight.mul_(8)
    return module


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("oblong") / NAME
    save_file(oblong().state_dict(), path)
    return path


@pytest.mark.parametrize("text", ["6x10", "6 x 10", "6×10", "6,10", (6, 10)])
def test_a_grid_as_people_type_it(text):
    assert read_grid(text) == (6, 10)


@pytest.mark.parametrize("text", ["six", "6", "6x", "6x10x3", "6x0", (6,), "-6x-10"])
def test_what_is_no_grid(text):
    with pytest.raises(ModelError, match="grid"):
        read_grid(text)


def test_the_model_computes_what_it_did(weights):
    model = explorer.load_model(weights, device="cpu", grid="6x10")
    pixels = torch.randn(1, 3, 48, 80)
    with torch.no_grad():
        torch.testing.assert_close(model.forward(pixels)[0], oblong().forward_features(pixels))
        other = explorer.load_model(weights, device="cpu", grid=(10, 6)).forward(pixels)[0]
    assert (other - model.forward(pixels)[0]).abs().max() > 1e-3  # the other way round it is another model


@pytest.mark.slow
def test_it_holds_with_the_architecture_named_too(weights, tmp_path):
    torch.manual_seed(0)
    named: Any = VisionTransformer(img_size=(96, 160), patch_size=16, embed_dim=192, num_heads=3, num_classes=3).eval()
    save_file(named.state_dict(), tmp_path / "named.safetensors")
    pixels = torch.randn(1, 3, 96, 160)
    with torch.no_grad():
        arch = "vit_tiny_patch16_224"
        model = explorer.load_model(tmp_path / "named.safetensors", device="cpu", arch=arch, grid="6x10")
        torch.testing.assert_close(model.forward(pixels)[0], named.forward_features(pixels), atol=1e-4, rtol=0)


@pytest.mark.slow
def test_the_command_and_its_script_give_the_same_map(weights, tmp_path, monkeypatch):
    photo(80, 48).save(tmp_path / "photo.png")
    told = ["--model", str(weights), "--grid", "6x10", "--size", "48", "--fit", "keep"]
    assert main(["attention", str(tmp_path / "photo.png"), *told, "--npz", "--out", str(tmp_path / "maps")]) == 0
    stored = np.load(tmp_path / "maps" / "photo.npz")
    model = explorer.load_model(weights, grid=(6, 10))
    expected = explorer.record(model, tmp_path / "photo.png", 48, "keep").attention(-1)
    assert expected.shape == (6, 10)
    np.testing.assert_array_equal(stored["map"], expected)
    assert main(["figure", str(tmp_path / "photo.png"), *told, "--out", str(tmp_path / "view.py")]) == 0
    monkeypatch.setattr(sys, "path", [*sys.path])  # to which the script adds
    runpy.run_path(str(tmp_path / "view.py"), run_name="__main__")
    np.testing.assert_array_equal(np.load(tmp_path / "view.npz")["map"], expected)


def test_it_is_asked_for_in_one_line(weights, tmp_path, capsys):
    photo().save(tmp_path / "photo.png")
    with pytest.raises(UntoldError, match="with grid, such as 6x10"):
        explorer.load_model(weights)
    command = ["attention", str(tmp_path / "photo.png"), "--model", str(weights), "--out", str(tmp_path)]
    assert main(command) == 2 and "such as 6x10" in capsys.readouterr().err
    assert main([*command, "--grid", "7x9"]) == 2 and "not 7 x 9" in capsys.readouterr().err
    assert main([*command, "--grid", "wide"]) == 2 and "ROWSxCOLS" in capsys.readouterr().err


def test_compare_takes_one_for_each_model(weights, tmp_path, capsys):
    photo().save(tmp_path / "photo.png")
    command = ["compare", str(tmp_path / "photo.png"), "--model", str(weights), "--grid", "6x10", "--size", "64"]
    assert main([*command, "--with", str(weights), "--with-grid", "6x10"]) == 0
    said = capsys.readouterr().out
    assert "mean 0.0000 bits" in said and "attention is the same" in said
    assert main([*command, "--with", str(weights), "--with-grid", "10x6"]) == 0
    said = capsys.readouterr().out
    assert "mean 0.0000 bits" not in said and "attention is the same" not in said


def test_small_pictures_are_those_of_its_model(weights, tmp_path):
    photo().save(tmp_path / "photo.png")
    models = [explorer.load_model(weights, device="cpu", grid=grid) for grid in ("6x10", "10x6")]
    first, second = (np.array(attention_picture(model, str(tmp_path / "photo.png"), 48)) for model in models)
    assert (first.shape, second.shape) == ((48, 80, 3), (80, 48, 3))


@pytest.mark.slow
def test_a_run_keeps_it(weights, tmp_path):
    data = make_dataset(tmp_path / "data", per_class=4)
    where = ["--runs", str(tmp_path / "runs"), "--name", "wide"]
    train = ["finetune", str(data), "--model", str(weights), "--grid", "6x10", "--image-size", "48"]
    assert main([*train, "--epochs", "2", "--stop-after", "1", *where]) == 0
    assert main(["finetune", "--resume", *where]) == 0
    assert explorer.load_model(tmp_path / "checkpoints" / "wide", device="cpu").depth == 2


@pytest.mark.slow
def test_the_app_asks_for_it_and_loads_with_it(checkpoints, weights):
    save_file(oblong().state_dict(), paths.checkpoints() / NAME)
    app = open_app(model=f"checkpoints/{NAME}")
    assert any("such as 6x10" in sentence for sentence in sentences(app))
    field = app.text_input(key="patch_grid")
    field.set_value("6x10").run()
    assert not app.exception and not sentences(app)
    choice = app.session_state["choice"]
    model = choice.model
    assert (model.source.grid, choice.view.source.grid, model.source.source) == ("6x10", "6x10", f"checkpoints/{NAME}")
    linked = open_app(model=f"checkpoints/{NAME}", patch_grid="6x10")
    assert not sentences(linked) and linked.session_state["choice"].model.source.grid == "6x10"


@pytest.mark.slow
def test_an_upload_says_it(checkpoints, weights):
    app = open_app()
    uploader = next(widget for widget in app.file_uploader if widget.label == "Weights file")
    uploader.set_value(("wide.safetensors", weights.read_bytes(), "application/octet-stream"))
    next(field for field in app.text_input if field.label == "Grid" and "weights_" in str(field.key)).set_value("6x10")
    next(button for button in app.button if button.label == "Load it").click().run()
    assert not app.exception and not sentences(app)
    choice = app.session_state["choice"]
    assert choice.model.source == ModelSource("checkpoints/wide.safetensors", grid="6x10")
