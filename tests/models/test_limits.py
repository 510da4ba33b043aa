"""A model is measured before it is built, and one bad folder leaves the list of all others whole."""

import json
import os
import resource
from pathlib import Path
from random import Random
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

import explorer
from explorer.cli import main
from explorer.errors import CheckpointError, ExplorerError
from tests.models.test_loading import SMALL


def timm_folder(folder: Path, **changes: Any) -> None:
    folder.mkdir(exist_ok=True)
    config = {"architecture": "test_vit", "num_classes": 3, "model_args": {}, "pretrained_cfg": {}} | changes
    (folder / "config.json").write_text(json.dumps(config))
    save_file(timm.create_model("test_vit", num_classes=3).state_dict(), folder / "model.safetensors")


LARGE = [
    ({"depth": 10**6}, "1,000,000 layers by its config; a model has 1 to 512"),
    ({"img_size": 24_000}, r"positions for 2,250,000 patches .* set EXPLORER_MAX_TOKENS"),
    ({"embed_dim": 10**7, "num_heads": 1}, r"parameters by its config, the limit is 10,000,000,000: set EXPLORER"),
    ({"reg_tokens": 10**9}, "parameters by its config"),
    ({"num_heads": 0}, "num_heads is 0, not 1 or more"),
    ({"mlp_ratio": float("nan")}, "says mlp_ratio is nan"),
]


@pytest.mark.parametrize("arguments, words", LARGE)
def test_a_timm_folder_that_no_computer_holds(arguments, words, tmp_path):
    timm_folder(tmp_path, model_args=arguments)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match=words):
        explorer.load_model(tmp_path, device="cpu")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "kB: nothing is made before"


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"num_hidden_layers": 10**6}, "1,000,000 layers"),
        ({"image_size": 24_000}, "positions for 2,250,000 patches"),
        ({"intermediate_size": 10**12}, "parameters by its config"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0, not 1 or more"),
        ({"num_attention_heads": -4}, "num_attention_heads is -4, not 1 or more"),
        ({"patch_size": [16, 0]}, "patch_size is"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "quantised weights"),
    ],
)
def test_a_transformers_folder_that_no_computer_holds(changes, words, tmp_path):
    import transformers

    transformers.ViTModel(transformers.ViTConfig(**SMALL)).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | changes
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=words):
        explorer.load_model(tmp_path, device="cpu")


def test_a_config_for_which_more_would_be_made_than_the_weights_hold(tmp_path):
    import transformers

    transformers.ViTModel(transformers.ViTConfig(**SMALL)).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"num_hidden_layers": 300, "intermediate_size": 9999}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"parameters by its config, but its weights hold .* different models"):
        explorer.load_model(tmp_path, device="cpu")


def test_tables_of_relative_positions_are_bounded(tmp_path):
    timm_folder(tmp_path, architecture="beit_base_patch16_224", model_args={"img_size": 2048, "depth": 1})
    with pytest.raises(CheckpointError, match=r"tables of .* numbers by its config, as relative positions"):
        explorer.load_model(tmp_path, device="cpu")


def test_half_a_billion_labels_of_a_text_model_get_no_names(tmp_path):
    import transformers

    settings = {key: value for key, value in SMALL.items() if key != "num_labels"}
    vision = transformers.CLIPVisionConfig(**settings)
    transformers.CLIPVisionModel(vision).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    both = {"model_type": "clip", "vision_config": config, "text_config": {"num_labels": 500_000_000}}
    (tmp_path / "config.json").write_text(json.dumps(both))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert explorer.load_model(tmp_path, device="cpu").class_names is None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000


def test_the_limits_can_be_set(tmp_path, monkeypatch):
    timm_folder(tmp_path)
    monkeypatch.setenv("EXPLORER_MAX_PARAMETERS", "1000")
    with pytest.raises(CheckpointError, match="the limit is 1,000"):
        explorer.load_model(tmp_path, device="cpu")
    monkeypatch.delenv("EXPLORER_MAX_PARAMETERS")
    monkeypatch.setenv("EXPLORER_MAX_TOKENS", "10")
    timm_folder(tmp_path, model_args={"img_size": 160})
    with pytest.raises(CheckpointError, match="the limit is 10"):
        explorer.load_model(tmp_path, device="cpu")


def test_a_header_of_too_many_tensors_and_a_dictionary_that_holds_itself_often(tmp_path):
    empty = {f"t{index}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for index in range(60_000)}
    header = json.dumps(empty).encode()
    (tmp_path / "many.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(CheckpointError, match="60,000 tensors, more than any vision model"):
        explorer.load_model(tmp_path / "many.safetensors", device="cpu")
    shared: dict[str, Any] = {"value": 1}
    for _ in range(7):
        shared = {str(index): shared for index in range(40)}  # 40^7 ways, 8 dictionaries
    torch.save(shared, tmp_path / "shared.pth")
    with pytest.raises(CheckpointError, match="holds no named tensors"):
        explorer.load_model(tmp_path / "shared.pth", device="cpu")


def test_the_list_of_models_goes_on_after_bad_folders(tmp_path, monkeypatch, capsys):
    timm_folder(tmp_path / "good")
    bad = {
        "deep": "[" * 100_000 + "]" * 100_000, "null": "null", "hub": '{"architecture": "hf-hub:timm/vit_tiny"}',
        "type": '{"model_type": 5}', "wrong": '{"architecture": {"a": 1}}', "empty": "",
    }  # fmt: skip
    for name, text in bad.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(text)
    (tmp_path / "huge").mkdir()
    with (tmp_path / "huge" / "config.json").open("wb") as file:
        file.truncate(150 * 2**20)
    os.mkfifo(tmp_path / "pipe.pth")
    os.symlink("circle", tmp_path / "circle")
    (Path(os.fsdecode(os.fsencode(str(tmp_path)) + b"/\xff\xfe"))).mkdir()
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(tmp_path))
    assert main(["models"]) == 0
    listed = capsys.readouterr().out
    assert "checkpoints/good" in listed and all(f"checkpoints/{name} " in listed for name in (*bad, "huge"))
    assert "hf-hub:timm/vit_tiny', which isn't an architecture of timm" in listed


KEYS = ["architecture", "num_classes", "model_args", "pretrained_cfg", "label_names", "global_pool", "model_type"]
ARGUMENTS = ["depth", "embed_dim", "num_heads", "img_size", "act_layer", "qkv_bias", "init_values", "in_chans"]
LEAVES = [None, True, 0, -1, 3, 10**6, 10**30, 0.5, float("nan"), float("inf"), "", "gelu", "\u2028", [], {}, [3, 4]]


def any_value(random: Random, depth: int = 0) -> Any:
    """A JSON value of any shape, and most often a leaf."""
    kind = random.random()
    if depth > 2 or kind < 0.7:
        return random.choice(LEAVES)
    inner = [any_value(random, depth + 1) for _ in range(random.randrange(4))]
    return inner if kind < 0.85 else {str(random.choice(LEAVES)): value for value in inner}


def some(random: Random, keys: list[str], most: int) -> dict[str, Any]:
    return {key: any_value(random) for key in random.sample(keys, random.randrange(most))}


@pytest.mark.parametrize("seed", range(60))
def test_any_config_is_a_model_or_one_sentence(seed, tmp_path):
    random = Random(seed)
    timm_folder(tmp_path, **({"model_args": some(random, ARGUMENTS, 3)} | some(random, KEYS, 4)))
    try:
        explorer.load_model(tmp_path, device="cpu")
    except ExplorerError as error:
        assert "\n" not in str(error)
