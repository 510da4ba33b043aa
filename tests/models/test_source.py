"""One value names a model everywhere: load_model takes it, a loaded model gives it back, caches tell models apart."""

import json

import pytest

import explorer
from explorer.models.source import ModelSource
from explorer.training.plan import Plan
from explorer.training.runs.folder import Options, RunFolder, read_config, write_config
from explorer.ui import cached
from explorer.ui.photos import samples
from tests.tiny import save_weights, tiny_model
from tests.training_help import make_base


def test_a_loaded_model_knows_what_it_was_loaded_from(checkpoints):
    given = ModelSource("checkpoints/tiny.safetensors", num_heads=2)
    model = explorer.load_model(given, device="cpu")
    assert (model.source, model.num_heads) == (given, 2)
    same = explorer.load_model("checkpoints/tiny.safetensors", device="cpu", num_heads=2)
    assert same.source == given
    assert explorer.load_model(checkpoints / "tiny.safetensors", device="cpu").source.num_heads is None
    assert tiny_model().source == ModelSource("tiny"), "one made by hand: its name"


@pytest.mark.parametrize(("grid", "kept"), [((6, 10), "6x10"), ("6x10", "6x10"), (None, None)])
def test_a_grid_is_kept_as_it_is_written(grid, kept):
    assert ModelSource.of("a.pth", grid=grid).grid == kept


def test_the_table_s_key_stands_for_its_source():
    model = explorer.load_model("timm:deit_tiny_patch16_224.fb_in1k", device="cpu", pretrained=False)
    assert model.source == ModelSource("deit-t16")


def test_recordings_are_told_apart_by_model_photo_size_and_fit(tmp_path):
    weights = save_weights(tmp_path)
    models = [cached.load_model(ModelSource(str(weights), num_heads=heads)) for heads in (4, 2)]
    assert cached.load_model(ModelSource(str(weights), num_heads=4)) is models[0]
    cat, astronaut = samples()[:2]
    found = [
        cached.record(models[0], cat, 64),
        cached.record(models[1], cat, 64),
        cached.record(models[0], astronaut, 64),
        cached.record(models[0], cat, 48),
        cached.record(models[0], cat, 64, "squash"),
    ]
    assert len({id(recording) for recording in found}) == 5
    assert [recording.num_heads for recording in found] == [4, 2, 4, 4, 4]
    assert cached.record(models[0], cat, 64, "squash") is found[-1]
    save_weights(tmp_path, seed=1)
    changed = cached.load_model(ModelSource(str(weights), num_heads=4))
    assert changed is not models[0] and cached.model_number(changed) != cached.model_number(models[0])
    assert cached.record(changed, cat, 64, "squash") is not found[-1]


WRITTEN_BY_0_1_0 = """{
  "data": "/home/me/pets.zip",
  "model": "checkpoints/odd.safetensors",
  "checkpoint": "/home/me/checkpoints/pets-head",
  "onnx": true,
  "tensorboard": false,
  "arch": null,
  "num_heads": 3,
  "grid": "6x10",
  "plan": {"train": "head", "new_head": "probe", "epochs": 30, "lr": 0.005, "layer_decay": 1.0, "warmup": 0.1,
    "batch_size": 32, "weight_decay": 0.05, "label_smoothing": 0.0, "class_weights": false, "augmentation": "flip",
    "mixup": 0.2, "image_size": null, "early_stopping": null, "keep_epochs": null, "images_per_class": null,
    "val_fraction": 0.15, "seed": 0, "precision": "auto", "cache_precision": "auto"}
}"""


def test_the_config_of_an_earlier_release_is_read(tmp_path):
    folder = RunFolder(tmp_path)
    folder.config.write_text(WRITTEN_BY_0_1_0)
    options, plan = read_config(folder)
    model = ModelSource("checkpoints/odd.safetensors", None, 3, "6x10")
    assert options == Options("/home/me/pets.zip", model, "/home/me/checkpoints/pets-head", onnx=True)
    assert plan == Plan(epochs=30).resolved()
    write_config(folder, options, plan)
    assert json.loads(folder.config.read_text())["model"] == {
        "source": "checkpoints/odd.safetensors", "arch": None, "num_heads": 3, "grid": "6x10", "prompts": [],
    }  # fmt: skip
    assert read_config(folder) == (options, plan)


def test_a_loaded_model_can_be_loaded_again(tmp_path):
    base = make_base(tmp_path / "base") / "model.safetensors"
    model = explorer.load_model(base, device="cpu", num_heads=4)
    assert explorer.load_model(model.source, device="cpu").num_heads == 4
