"""ONNX: the fine-tuned model for programs without PyTorch."""

import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from explorer.errors import TrainingError


def export_onnx(module: nn.Module, path: Path, size: int) -> Path:
    """Write `pixels` "batch 3 size size" -> `logits` "batch class"; TrainingError where packages for it are missing."""
    try:
        import onnxscript  # noqa: F401  (torch's exporter needs it)
    except ImportError as error:
        raise TrainingError("ONNX export needs two more packages: pip install onnx onnxscript.") from error
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
