"""Training files that hold objects of other libraries beside the weights open; nothing of those is imported or run."""

import pathlib
import subprocess
import sys
import types
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
import torch
from torch.torch_version import TorchVersion

import explorer
from explorer.errors import CheckpointError
from tests.models.test_formats import assert_equal, load, plain


class Node:
    """Saved with its state, as OmegaConf's are."""

    def __init__(self, **state: Any):
        self.__dict__.update(state)


class Mapping(dict):
    """A dictionary of a library's own, as EasyDict and Lightning's AttributeDict are."""


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
        "mmengine": {"message_hub": {"log_scalars": {"train/loss": history(_log_history=np.ones(3))}}},
    }


NAMES = (
    *("numpy number", "numpy array", "path", "torch version", "default dictionary", "namespace", "omegaconf"),
    *("easydict", "mmengine"),
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
