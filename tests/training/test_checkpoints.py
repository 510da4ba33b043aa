"""A finished run's checkpoint opens in timm, transformers, the explorer and onnxruntime with the same logits."""

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import timm
import torch

from explorer.data.datasets import read_dataset
from explorer.data.report import DatasetReport
from explorer.models.loading import load_model
from explorer.models.onnx import export_onnx
from explorer.models.source import ModelSource, TrainedFrom
from explorer.training.checkpoints import hub_id, in_markdown, model_card, read_seen, save_checkpoint
from explorer.training.examples import Examples
from explorer.training.finetune import finetune
from explorer.training.plan import Plan
from tests.tiny import tiny_model
from tests.training_help import make_dataset, make_model

NAMES = ["blue", "green", "red"]
ORIGIN = TrainedFrom(ModelSource("bundled"), "photos.zip", "mine")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data"), per_class=6)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXPLORER_QUEUE", str(folder / "queue"))
        result = finetune(data, make_model(folder / "base"), Plan(train="last-1", epochs=2), folder / "runs" / "mine")
    assert result.checkpoint == folder / "checkpoints" / "mine"
    return result.checkpoint


def pixels(size: int = 32) -> torch.Tensor:
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def timm_logits(folder, inputs):
    return timm.create_model(f"local-dir:{folder}", pretrained=True).eval()(inputs)


@torch.no_grad()
def transformers_logits(folder, inputs):
    from transformers import AutoModelForImageClassification

    model = AutoModelForImageClassification.from_pretrained(folder).eval()
    assert [model.config.id2label[index] for index in range(3)] == NAMES
    return model(inputs).logits


@pytest.mark.slow
def test_three_libraries_give_the_same_logits(checkpoint, data):
    model = load_model(checkpoint, device="cpu")
    inputs = torch.cat([model.preprocess(path) for path in sorted(data.rglob("*.png"))[:4]])
    with torch.no_grad():
        expected = model.module(inputs)
    torch.testing.assert_close(timm_logits(checkpoint, inputs), expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(transformers_logits(checkpoint, inputs), expected, rtol=0, atol=1e-4)
    assert model.class_names == NAMES and model.input_size == 32


def test_preprocessing_is_the_explorers_own(checkpoint, data):
    from timm.data.config import resolve_model_data_config
    from timm.data.transforms_factory import create_transform

    model = load_model(checkpoint, device="cpu")
    config = resolve_model_data_config(timm.create_model(f"local-dir:{checkpoint}"))
    from PIL import Image

    photo = Image.open(sorted(data.rglob("*.png"))[0]).resize((48, 48))
    transform: Any = create_transform(**config)
    torch.testing.assert_close(transform(photo)[None], model.preprocess(photo), rtol=0, atol=0.02)


def test_config_and_card_say_what_it_was_trained_from(checkpoint, data):
    base = str(checkpoint.parents[1] / "base")
    model = {"source": base, "arch": None, "num_heads": None, "grid": None, "prompts": []}
    fields = {"model": model, "data": data.name, "run": "mine"}
    assert json.loads((checkpoint / "config.json").read_text())["trained_from"] == fields
    assert "base_model" not in (checkpoint / "README.md").read_text(), "a local base has no id on the hub"


@pytest.mark.parametrize(
    ("source", "repository"),
    [
        ("bundled", None),
        ("checkpoints/mine", None),
        ("dino-s8", "timm/vit_small_patch8_224.dino"),
        ("clip-b16", "timm/vit_base_patch16_clip_224.openai"),
        ("timm:vit_small_patch16_224", "timm/vit_small_patch16_224.augreg_in21k_ft_in1k"),
        ("timm:hf-hub:org/name", "org/name"),
        ("hf:google/vit-base-patch16-224", "google/vit-base-patch16-224"),
        ("hf:facebook/dinov2-base", "facebook/dinov2-base"),
    ],
)
def test_the_front_matter_names_the_base_as_the_hub_does(source, repository, checkpoint):
    from huggingface_hub import ModelCard

    assert hub_id(source) == repository
    examples = Examples(DatasetReport("", ("a", "b"), ()), [], np.array([0, 1]), [], np.array([0, 1]), [])
    scores = dict.fromkeys(("accuracy", "f1_macro", "f1_weighted", "loss"), 0.5)
    rows = [{"precision": 1.0, "recall": 1.0, "f1": 1.0}] * 2
    metrics = {**scores, "baseline": scores, "intervals": {}, "per_class": rows, "knn_accuracy": 1.0, "best_epoch": 1}
    origin = TrainedFrom(ModelSource(source), "photos.zip", "mine")
    card = model_card("mine", tiny_model(), 32, Plan(), examples, metrics, origin)
    assert ModelCard(card).data.to_dict().get("base_model") == repository


def test_card_tells_base_data_plan_and_quality(checkpoint):
    card = (checkpoint / "README.md").read_text()
    for words in ("# mine", "library_name: timm", "| train | last-1 |", "| accuracy |", "| blue | 5 | 1 |", "32 x 32"):
        assert words in card
    assert str(checkpoint.parent) not in card
    assert "num_classes" not in json.loads((checkpoint / "config.json").read_text())["model_args"]


def test_the_card_lists_only_what_was_used(checkpoint):
    settings = Plan("last-1", mixup=0.4).used()
    assert (
        "mixup" not in settings and "early_stopping" not in settings and "layer_decay" not in Plan().resolved().used()
    )
    full = Plan("last-1", augmentation="full", mixup=0.4).used()
    assert full["mixup"] == 0.4 and "cache_precision" not in full
    assert "mixup" not in Plan(augmentation="full", mixup=0.0).used()
    card = (checkpoint / "README.md").read_text()
    assert (
        "| precision | float32 |" in card and "| cache_precision | float32 |" in card and "| new_head | probe |" in card
    )
    assert "mixup" not in card and "auto" not in card


def test_names_of_classes_are_no_markup_in_the_card():
    assert in_markdown("a|b\n<img> *c*") == r"a\|b \<img\> \*c\*"


def test_a_checkpoint_knows_the_photos_it_was_made_with_and_those_of_its_base(checkpoint, data, tmp_path):
    report = read_dataset(data)
    seen = read_seen(str(checkpoint))
    assert (len(seen.train), len(seen.val)) == (15, 3)
    assert seen.count([item.sha for item in report.items]) == (15, 3)
    assert seen.count(["0" * 64]) == (0, 0) and read_seen(str(checkpoint / "epochs" / "001")) == seen
    other = make_dataset(tmp_path / "other", per_class=4, classes=("red", "green"))
    result = finetune(other, str(checkpoint), Plan(epochs=1), tmp_path / "runs" / "next", progress=False)
    assert seen.train < read_seen(str(result.checkpoint)).train


@pytest.mark.slow
def test_onnx_gives_the_same_logits_for_any_batch(checkpoint, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    model = load_model(checkpoint, device="cpu")
    session = onnxruntime.InferenceSession(export_onnx(model.module, tmp_path / "model.onnx", 32))
    for inputs in (pixels(), pixels()[:1]):
        (got,) = session.run(["logits"], {"pixels": inputs.numpy()})
        with torch.no_grad():
            np.testing.assert_allclose(got, model.module(inputs).numpy(), atol=1e-4)


def saved(model, tmp_path, data):
    return finetune(data, model, Plan(epochs=1), tmp_path / "run").checkpoint


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [{"reg_tokens": 4, "no_embed_class": True, "init_values": 0.5}, {"global_pool": "avg", "qk_norm": True}]
)
def test_bare_state_dicts_become_registered_architectures(tmp_path, data, settings):
    base = tiny_model(size=32, **settings)
    folder = saved(base, tmp_path, data)
    torch.testing.assert_close(timm_logits(folder, pixels()), transformers_logits(folder, pixels()), rtol=0, atol=1e-4)


def test_files_have_the_rights_of_any_new_file(checkpoint, tmp_path):
    (tmp_path / "new").touch()
    rights = (tmp_path / "new").stat().st_mode
    run = checkpoint.parents[1] / "runs" / "mine"
    files = [*checkpoint.iterdir(), *run.glob("*.safetensors")]
    assert len(files) == 6 and {path.stat().st_mode for path in files} == {rights}


def test_an_old_checkpoint_stays_until_the_new_one_is_whole(tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "model.safetensors").write_text("old")

    def no_space(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("explorer.training.checkpoints.save_tensors", no_space)
    model = tiny_model(size=32)
    examples: Any = SimpleNamespace(report=SimpleNamespace(class_names=("a", "b")))
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(folder, model.module, model, 32, Plan(), examples, {}, ORIGIN)
    assert (folder / "model.safetensors").read_text() == "old"
