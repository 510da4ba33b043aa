"""Training files that hold objects of other libraries beside the weights open; nothing of those is imported or run."""

import functools
import pathlib
import subprocess
import sys
import types
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.torch_version import TorchVersion
from torchvision.transforms import Compose, Resize, ToTensor

import explorer
from explorer.errors import CheckpointError
from explorer.models.formats.reading import read_contents
from tests.models.test_formats import assert_equal, load, plain


class Node:
    """Saved with its state, as OmegaConf's are."""

    def __init__(self, **state: Any):
        self.__dict__.update(state)


class Mapping(dict):
    """A dictionary of a library's own, as EasyDict and Lightning's AttributeDict are."""


class Own(torch.Tensor):
    """A tensor of a library's own."""


def of_library(kind: type, module: str, name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The class as if a library that isn't installed had it."""
    made = type(name, (kind,), {"__module__": module})
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        package = types.ModuleType(".".join(parts[:count]))
        package.__path__ = []
        monkeypatch.setitem(sys.modules, package.__name__, package)
    monkeypatch.setattr(sys.modules[module], name, made, raising=False)
    return made


def objects(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    config = of_library(Node, "omegaconf.dictconfig", "DictConfig", monkeypatch)
    number = of_library(Node, "omegaconf.nodes", "AnyNode", monkeypatch)
    settings = of_library(Mapping, "easydict", "EasyDict", monkeypatch)
    history = of_library(Node, "mmengine.logging.history_buffer", "HistoryBuffer", monkeypatch)
    kind = of_library(Node, "peft.utils.peft_types", "PeftType", monkeypatch)
    configuration = of_library(Node, "transformers.models.vit.configuration_vit", "ViTConfig", monkeypatch)
    counts = defaultdict(list)
    counts["loss"].append(0.5)
    return {
        "numpy number": {"best_acc": np.float64(0.9), "epoch": np.int64(3)},
        "numpy array": {"rng_state": np.arange(4)},
        "path": {"output": pathlib.PurePosixPath("/runs/1")},
        "torch version": {"torch": TorchVersion("2.1.0")},
        "default dictionary": {"history": counts},
        "namespace": {"args": types.SimpleNamespace(num_heads=4)},
        "omegaconf": {"hyper_parameters": config(_content={"num_heads": number(_val=4)}, _metadata=None)},
        "easydict": {"config": settings(num_heads=4)},
        "optimizer": {"hyper_parameters": {"optimizer": functools.partial(torch.optim.AdamW, lr=1e-3)}},
        "transforms": {"hyper_parameters": {"transform": Compose([ToTensor()])}},
        "transformers": {"peft_config": {"peft_type": kind()}, "config": configuration(hidden_size=64)},
        "mmengine": {"message_hub": {"log_scalars": {"train/loss": history(_log_history=np.ones(3))}}},
    }


NAMES = (
    *("numpy number", "numpy array", "path", "torch version", "default dictionary", "namespace", "omegaconf"),
    *("easydict", "mmengine", "optimizer", "transforms", "transformers"),
)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_what_trainers_put_beside_the_weights_is_passed_over(name, legacy, monkeypatch, tmp_path):
    reference = plain(num_heads=4)
    content = {"state_dict": reference.state_dict(), **objects(monkeypatch)[name]}
    torch.save(content, tmp_path / "weights.pth", _use_new_zipfile_serialization=not legacy)
    monkeypatch.undo()
    says_heads = name in ("namespace", "omegaconf", "easydict")
    model = explorer.load_model(tmp_path / "weights.pth", device="cpu", num_heads=None if says_heads else 4)
    assert model.num_heads == 4
    assert_equal(model, reference)


class Harm:
    """Asks for a function by name and calls it."""

    def __init__(self, function: Any, *arguments: Any):
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("function", [subprocess.call, eval, __import__, setattr])
def test_functions_that_do_something_are_refused(function, tmp_path):
    with pytest.raises(CheckpointError, match=r"nothing (in it was run|ran)"):
        load({"state_dict": plain().state_dict(), "args": Harm(function, "1")}, tmp_path)


def test_a_function_of_a_harmless_library_is_not_run(monkeypatch, tmp_path):
    target = tmp_path / "ran"
    reference = plain()
    content = {"state_dict": reference.state_dict(), "args": Harm(np.save, str(target), np.ones(2))}
    assert_equal(load(content, tmp_path), reference)
    assert not list(tmp_path.glob("ran*"))
    torch.load(tmp_path / "weights.pth", weights_only=False)
    assert list(tmp_path.glob("ran*")), "the file does call it where it may"


def test_a_whole_model_of_transformers_is_named(monkeypatch, tmp_path):
    model = of_library(Node, "transformers.models.vit.modeling_vit", "ViTModel", monkeypatch)
    with pytest.raises(CheckpointError, match=r"asks for transformers.models.vit.modeling_vit.ViTModel"):
        load({"model": model(weight=torch.ones(2))}, tmp_path)


def test_modules_that_lightning_keeps_among_its_settings_are_passed_over(tmp_path):
    reference = plain()
    settings = {"loss": nn.CrossEntropyLoss(), "transform": Resize(8)}
    assert_equal(load({"state_dict": reference.state_dict(), "hyper_parameters": settings}, tmp_path), reference)


def test_a_tensor_of_a_library_of_quantisation_is_called_quantised(monkeypatch, tmp_path):
    kind = of_library(Node, "torchao.quantization", "Int8Tensor", monkeypatch)
    tensors = plain().state_dict()
    with pytest.raises(CheckpointError, match=r"holds quantised weights \(torchao.quantization.Int8Tensor\)"):
        load({"state_dict": tensors, "weight": kind(data=1)}, tmp_path)


def test_a_tensor_of_another_class_is_called_quantised(tmp_path):
    torch.save({"weight": torch.ones(2).as_subclass(Own)}, tmp_path / "weights.pth")
    with (
        torch.serialization.safe_globals([Own]),
        pytest.raises(CheckpointError, match=r"quantised weights \(weight as Own"),
    ):
        read_contents(tmp_path / "weights.pth")
