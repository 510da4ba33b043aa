"""The table of models agrees with timm, checkpoints/ is looked through, and the default needs no network."""

import json
from dataclasses import asdict
from pathlib import Path

import huggingface_hub.constants
import pytest
import timm
import torch
from timm.models import get_pretrained_cfg, save_for_hf

import explorer
from explorer.cli import main
from explorer.errors import CheckpointError, ModelError
from explorer.models import registry
from explorer.models.formats.dialects import DIALECTS
from explorer.models.registry import REGISTRY, Entry
from explorer.models.source import ModelSource, TrainedFrom
from explorer.models.timm_models import create_timm, wrap_timm
from explorer.models.transformers_models import FAMILIES
from tests.conftest import REPOSITORY
from tests.tiny import photo, save_weights

TIMM = [entry for entry in REGISTRY if entry.source.startswith("timm:")]


@pytest.fixture
def checkpoints(monkeypatch, tmp_path) -> Path:
    """An empty checkpoints folder and an empty cache."""
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(tmp_path / "checkpoints"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


@pytest.mark.slow
@pytest.mark.parametrize("entry", TIMM, ids=lambda entry: entry.key)
def test_the_table_agrees_with_timm(entry):
    config = get_pretrained_cfg(entry.source.removeprefix("timm:"))
    assert config is not None and config.hf_hub_id == entry.repo_id
    assert config.input_size[1] == entry.size
    assert "QuickGELU" not in str(config.notes) or "quickgelu" in entry.source, "another activation, other maps"
    assert (config.license or "").lower().replace("-license", "") == entry.licence.lower().replace(" license", "")
    with torch.device("meta"):
        model = wrap_timm(create_timm(entry.source.removeprefix("timm:")), entry.source)
    assert (model.patch_size, model.depth, model.num_heads) == (entry.patch_size, entry.depth, entry.num_heads)
    assert round(model.num_parameters / 1e6) == entry.parameters
    assert model.input_size == entry.size


def test_the_docs_have_the_table():
    text = (REPOSITORY / "docs" / "models.md").read_text("utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    for entry in REGISTRY:
        row = next(row for row in rows if row.startswith(f"| `{entry.key}` |"))
        assert entry.source in row and entry.licence in row
    assert all(dialect.name in text for dialect in DIALECTS)


def test_the_table_has_what_people_ask_for():
    titles = " | ".join(entry.title for entry in REGISTRY)
    for name in (
        "Bundled",
        "DINO ViT-S/8",
        "DINO ViT-B/16",
        "ViT-B/16",
        "DeiT-Ti/16",
        "DINOv2",
        "DINOv3",
        "CLIP",
        "MAE",
    ):
        assert name in titles
    keys = [entry.key for entry in REGISTRY]
    assert len(set(keys)) == len(keys) and all(key == key.lower() for key in keys)
    assert all(entry.model_type in FAMILIES for entry in REGISTRY if entry.source.startswith("hf:"))


@pytest.mark.parametrize("key", ["deit-t16", "dinov3-s16"])
def test_random_weights_need_no_download(key):
    entry = registry.find(key)
    assert entry is not None
    model = explorer.load_model(key, device="cpu", pretrained=False)
    assert (model.name, model.source.source, model.depth) == (entry.title, key, entry.depth)
    recording = explorer.record(model, photo(), size=2 * model.patch_size)
    assert recording.grid == (2, 2) and recording.num_heads == entry.num_heads


def test_found_by_key_and_by_source():
    entry = registry.find("dino-s8")
    assert entry is not None and entry is registry.find("timm:vit_small_patch8_224.dino")
    assert registry.find("dino-s9") is None


def test_checkpoints_are_listed_and_open(checkpoints):
    assert registry.local_entries() == []
    module = timm.create_model("test_vit", num_classes=2)
    save_for_hf(
        module, str(checkpoints / "mine"), model_config={"label_names": ["ant", "bee"]}, safe_serialization=True
    )
    save_for_hf(module, str(checkpoints / "runs" / "first"), safe_serialization=True)
    torch.save(module.state_dict(), checkpoints / "loose.pth")
    (checkpoints / "notes.txt").write_text("no model")
    (checkpoints / ".hidden.pth").write_text("no model")
    entries = {entry.key: entry for entry in registry.local_entries()}
    assert list(entries) == ["checkpoints/loose.pth", "checkpoints/mine", "checkpoints/runs/first"]
    assert entries["checkpoints/mine"].about == "a checkpoint of yours: test_vit"
    assert all(registry.is_cached(entry) for entry in entries.values())
    model = explorer.load_model("checkpoints/mine", device="cpu")
    assert (model.name, model.class_names) == ("mine", ["ant", "bee"])
    loose = explorer.load_model("checkpoints/loose.pth", device="cpu", num_heads=1)
    assert loose.source == ModelSource("checkpoints/loose.pth", num_heads=1)


@pytest.mark.parametrize(
    "base, names, about",
    [
        ("bundled", ["ants", "bees"], "fine-tuned from Bundled ViT: ants, bees"),
        ("checkpoints/mine", ["ants", "bees"], "fine-tuned from mine: ants, bees"),
        ("/home/me/base.pth", ["ants", "bees"], "fine-tuned from base.pth: ants, bees"),
        ("hf:org/other", list("abcdef"), "fine-tuned from hf:org/other: a, b, c, d and 2 more"),
        ("timm:vit_small_patch8_224.dino", None, "fine-tuned from DINO ViT-S/8"),
    ],
)
def test_a_fine_tuned_checkpoint_says_what_it_was_made_from(checkpoints, base, names, about):
    folder = checkpoints / "mine"
    folder.mkdir()
    origin = TrainedFrom(ModelSource(base), "insects.zip", "mine")
    config = {"architecture": "test_vit", "label_names": names, "trained_from": asdict(origin)}
    (folder / "config.json").write_text(json.dumps(config))
    assert [entry.about for entry in registry.local_entries()] == [about]
    assert registry.trained_from("checkpoints/mine") == origin


@pytest.mark.parametrize(
    "fields", [None, "bundled", [], {}, {"model": "bundled"}, {"model": {"source": 3}, "data": "a", "run": "b"}]
)
def test_damaged_fields_are_none(checkpoints, fields):
    folder = checkpoints / "mine"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"architecture": "test_vit", "trained_from": fields}))
    assert registry.trained_from(folder) is None
    assert [entry.about for entry in registry.local_entries()] == ["a checkpoint of yours: test_vit"]


def test_a_source_that_lasts_is_a_key_or_a_whole_path(checkpoints, tmp_path_factory, monkeypatch):
    elsewhere = save_weights(tmp_path_factory.mktemp("elsewhere"))
    monkeypatch.chdir(elsewhere.parent)
    assert registry.absolute_source(ModelSource(elsewhere.name, num_heads=2)) == ModelSource(
        str(elsewhere), num_heads=2
    )
    inside = registry.absolute_source(ModelSource(str(save_weights(checkpoints))))
    assert inside.source == "checkpoints/tiny.safetensors"
    for source in ("bundled", "dino-s8", "hf:org/name", "checkpoints/tiny.safetensors", "nothing.pth", ""):
        assert registry.absolute_source(ModelSource(source)).source == source


def test_kept_epochs_are_found_for_comparing_and_stay_out_of_the_list(checkpoints):
    module = timm.create_model("test_vit", num_classes=2)
    for inside in ("", "epochs/010", "epochs/002"):
        save_for_hf(module, str(checkpoints / "mine" / inside), safe_serialization=True)
    (checkpoints / "mine" / "epochs" / "notes").mkdir()
    kept = [(2, checkpoints / "mine" / "epochs" / "002"), (10, checkpoints / "mine" / "epochs" / "010")]
    assert registry.saved_epochs("checkpoints/mine") == registry.saved_epochs(checkpoints / "mine") == kept
    assert registry.saved_epochs("bundled") == registry.saved_epochs("dino-s8") == []
    assert [entry.key for entry in registry.local_entries()] == ["checkpoints/mine"]
    keys = [entry.key for entry in registry.epoch_entries("checkpoints/mine")]
    assert keys == ["checkpoints/mine/epochs/002", "checkpoints/mine/epochs/010"]
    by_key, by_path = (explorer.load_model(source, device="cpu") for source in (keys[1], kept[1][1]))
    assert by_key.name == by_path.name == "mine, epoch 10" and by_key.source.source == keys[1]
    assert registry.find("checkpoints/mine/epochs/003") is None


def test_a_removed_checkpoint_is_a_sentence(checkpoints):
    with pytest.raises(CheckpointError, match="doesn't exist any more"):
        explorer.load_model("checkpoints/loose.pth", device="cpu")
    with pytest.raises(ModelError, match="isn't a model that the explorer knows"):
        explorer.load_model("checkpoints/mine", device="cpu")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("dino-s61", "dino-s16"), ("Bundled", "bundled"), ("DINOv2 ViT-S14", "dinov2-s14"), ("tinny", "checkpoints/tiny")],
)
def test_a_misspelt_model_is_told_the_nearest_names(checkpoints, typed, meant):
    save_for_hf(timm.create_model("test_vit", num_classes=2), str(checkpoints / "tiny"))
    with pytest.raises(ModelError, match="Did you mean ") as error:
        registry.check_there(typed)
    assert meant in str(error.value).replace("?", " ").split()


def test_a_name_like_no_model_gets_no_advice(checkpoints):
    with pytest.raises(ModelError, match="knows: give a key"):
        registry.check_there("qqqq")


@pytest.mark.parametrize("source", ["timm:" + "x" * 10_000, "9" * 300, "checkpoints/" + "x" * 10_000, "a\0b", "\ud800"])
def test_a_source_that_is_no_path_is_a_sentence(checkpoints, source):
    assert not registry.resolve(source).exists() and registry.split_copy(source) == (source, None)
    with pytest.raises(ModelError):
        explorer.load_model(source)


def test_a_broken_folder_is_listed_with_its_reason(checkpoints):
    (checkpoints / "broken").mkdir()
    (checkpoints / "broken" / "config.json").write_text("{")
    assert "isn't readable JSON" in registry.local_entries()[0].about


def test_bundled_is_the_default_until_something_is_downloaded(checkpoints, tmp_path):
    assert registry.default_source() == "bundled"
    snapshot = tmp_path / "cache" / "models--timm--vit_small_patch16_224.dino"
    (snapshot / "snapshots" / "abc").mkdir(parents=True)
    (snapshot / "refs").mkdir()
    (snapshot / "refs" / "main").write_text("abc")
    (snapshot / "snapshots" / "abc" / "model.safetensors").write_bytes(b"weights")
    assert registry.default_source() == "dino-s16"


@pytest.mark.slow
def test_the_command_prints_the_table(checkpoints, capsys):
    module = timm.create_model("test_vit", num_classes=2)
    save_for_hf(module, str(checkpoints / "mine"), safe_serialization=True)
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["key", "title", "patch", "depth", "heads", "from", "cached"]
    assert lines[2].split() == ["dino-s8", "DINO", "ViT-S/8", "8", "12", "6", "timm", "no"]
    mine = next(line for line in lines if line.startswith("checkpoints/mine"))
    assert mine.split() == ["checkpoints/mine", "mine", "16", "6", "2", "checkpoints/", "yes"]
    assert sum(1 for line in lines if line.endswith((" yes", " no"))) == len(REGISTRY) + 1


def test_where_a_model_comes_from():
    assert Entry("a", "A", "timm:x", "").where == "timm"
    assert Entry("a", "A", "hf:x/y", "").where == "transformers"
    assert Entry("a", "A", "/somewhere", "").where == "checkpoints/"
