"""The distillation script: data, losses, a tiny run that is stopped and resumed, and the folder it exports."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors import safe_open

from explorer.training.distil import data
from explorer.training.distil import losses as distil_losses
from explorer.training.distil import train as distil
from explorer.training.distil.train import export

RECIPE = """
seed = 0
threads = 1
validate_photos = 4
ema_images = 64
[student]
depth = 2
width = 64
heads = 2
classes = 20
[weights]
big = 2.0
[augmentation]
mixup = 0.5
cutmix = 0.5
[[phase]]
name = "blocks"
images = 32
size = 32
batch = 8
muon_lr = [0.02, 0.01]
adamw_lr = [0.005, 0.002]
[[phase]]
name = "whole"
images = 32
size = 48
batch = 8
muon_lr = [0.01, 0.0]
adamw_lr = [0.002, 0.0]
patches = 5
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> data.PhotoStore:
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for archive, count in (("big", 20), ("small", 20)):
        with zipfile.ZipFile(folder / f"{archive}.zip", "w") as file:
            for number in range(count):
                sides = random.integers(40, 300, 2)
                buffer = io.BytesIO()
                Image.fromarray(random.integers(0, 255, (*sides, 3), np.uint8)).save(buffer, "JPEG")
                file.writestr(f"class/{number}.jpg", buffer.getvalue())
            file.writestr("class/readme.txt", "not a photo")
    data.build_store(data.find_archives([folder]), folder)
    return data.PhotoStore(folder)


def recipe(folder: Path) -> distil.Recipe:
    (folder / "recipe.toml").write_text(RECIPE)
    return distil.read_recipe(folder / "recipe.toml")


def teacher() -> distil_losses.ViT:
    torch.manual_seed(1)
    model = distil_losses.new_student(2, 64, 2, classes=20)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model


def trainer(store, folder: Path) -> distil.Trainer:
    return distil.Trainer(recipe(folder), store, teacher(), folder, torch.device("cpu"))


def test_store_keeps_every_photo_and_only_photos(store):
    assert len(store) == 40
    assert all(store.photo(i).shape[2] == 3 and min(store.photo(i).shape[:2]) <= 224 for i in range(40))
    train, held_out = store.split()
    assert sorted(train + held_out) == list(range(40)) and held_out
    assert all(data.is_held_out(store.name(i)) for i in held_out)


def test_no_photos_is_an_error_with_a_sentence(tmp_path):
    with pytest.raises(data.DistilDataError, match=r"No \.jpg or \.png photo"):
        data.build_store([], tmp_path)


def test_batches_are_normalised_and_repeat_with_their_seed(store):
    settings = data.Augmentation()
    first, again, other = (
        data.training_batch(store, [0, 1, 2], 32, settings, np.random.default_rng(seed)) for seed in (0, 0, 1)
    )
    assert first.shape == (3, 3, 32, 32) and first.abs().max() < 3
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_colour_changes_leave_pixels_in_range():
    images = torch.rand(4, 3, 8, 8)
    changed = data.jitter(images, 0.4, 0.5, np.random.default_rng(0))
    assert changed.min() >= 0 and changed.max() <= 1
    assert torch.allclose(data.jitter(images, 0, 0, np.random.default_rng(0)), images, atol=1e-6)


def test_states_equal_the_models_own_forward_pass():
    model = distil_losses.freeze(teacher())
    images = torch.randn(2, 3, 48, 48)
    states = distil_losses.forward_states(model, images)
    assert torch.allclose(states.logits, model(images), atol=1e-4)
    assert torch.allclose(states.blocks[-1].log_pattern.exp().sum(-1), torch.ones(2, 2, 10), atol=1e-5)


def test_a_perfect_student_loses_nothing():
    model = teacher()
    images = torch.randn(4, 3, 32, 32)
    states = distil_losses.forward_states(model, images)
    for losses in (distil_losses.blockwise_losses, distil_losses.whole_losses):
        detached = distil_losses.States(
            states.embedded.detach(),
            [distil_losses.BlockStates(*(t.detach() for t in vars(b).values())) for b in states.blocks],
            states.logits.detach(),
        )
        assert all(abs(loss.item()) < 1e-4 for loss in losses(model, detached, images).values())


@pytest.mark.slow
def test_a_stopped_run_ends_like_an_uninterrupted_one(store, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = trainer(store, tmp_path / "a")
    whole.train()
    stopped = trainer(store, tmp_path / "b")
    for _ in range(3):
        now = distil.phase_at(stopped.recipe, stopped.images)
        assert now is not None
        stopped.step(*now)
    stopped.save()
    resumed = trainer(store, tmp_path / "b")
    resumed.resume()
    assert resumed.images == 24
    resumed.train()
    assert resumed.images == whole.images == 64
    for a, b in zip(whole.student.parameters(), resumed.student.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


@pytest.mark.slow
def test_training_brings_the_student_nearer_to_its_teacher(store, tmp_path):
    run = trainer(store, tmp_path)
    phase = run.recipe.phases[0]
    first = {name: loss.item() for name, loss in run.step(phase, 0).items()}
    for _ in range(20):
        last = {name: loss.item() for name, loss in run.step(phase, 0).items()}
    assert last["mlp"] < 0.8 * first["mlp"] and last["logit_error"] < 0.7 * first["logit_error"]
    patches = run.student.patch_embed.proj.weight
    assert patches.data_ptr() == run.flat_patches.data_ptr()  # the optimizer's matrix is the convolution itself


def test_the_exported_folder_opens_in_timm(tmp_path):
    model = distil_losses.new_student(2, 64, 2)
    export(model, tmp_path / "model")
    config = json.loads((tmp_path / "model/config.json").read_text())
    assert len({path.stat().st_mode for path in (tmp_path / "model").iterdir()}) == 1, "the weights, too, can be read"
    assert "num_classes" not in config["model_args"] and len(set(config["label_names"])) > 990
    with safe_open(tmp_path / "model/model.safetensors", "pt") as file:
        assert file.get_tensor("head.weight").dtype == torch.float16
    opened = timm.create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True).eval()
    images = torch.randn(1, 3, 224, 224)
    assert torch.allclose(opened(images), model.eval()(images), atol=1e-2)
