"""ONNX: the fine-tuned model for programs without PyTorch."""

import copy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from explorer.errors import ModelError


def check_exporter(what: str = "ONNX export") -> None:
    """Raise ModelError, which begins with `what`, where the packages are missing that torch's exporter needs."""
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise ModelError(f"{what} needs more packages: pip install {' '.join(missing)}.")


def export_onnx(module: nn.Module, path: Path, size: int) -> Path:
    """Write `pixels` "batch 3 size size" -> `logits` "batch class"; ModelError where packages for it are missing."""
    check_exporter()
    whole: Any = copy.deepcopy(module).eval().cpu()
    example = torch.zeros(2, 3, size, size)
    batch = torch.export.Dim("batch", min=1)
    program = torch.onnx.export(
        whole,
        (example,),
        input_names=["pixels"],
        output_names=["logits"],
        dynamic_shapes=({0: batch},),
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    program.save(str(path), external_data=False)
    return path
