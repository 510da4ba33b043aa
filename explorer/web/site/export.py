"""A model as ONNX that also gives q and k of every layer, for runtimes that have no recorder."""

import copy
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from explorer.attention.force_sdpa import visible_attention
from explorer.attention.sdpa import arguments
from explorer.errors import ModelError
from explorer.models.backbone import Model
from explorer.models.onnx import check_exporter

HALVED = 1024  # numbers from which a weight is worth half precision


@dataclass(frozen=True)
class Exported:
    """The ONNX file; of its q and k (layer, head, token, dim) the last axis, and the scale of q k^T per layer."""

    onnx: bytes
    scales: tuple[float, ...]
    dim: int


class QueriesAndKeys(TorchFunctionMode):
    """Notes q and k "image head token dim" of every self-attention while the exporter traces the model."""

    def __init__(self, name: str, tokens: int):
        super().__init__()
        self.name, self.tokens = name, tokens
        self.q: list[Tensor] = []
        self.k: list[Tensor] = []
        self.scales: list[float] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            asked = arguments(*args, **kwargs)
            if asked.is_over(self.tokens):
                if asked.mask is not None:
                    raise ModelError(
                        f"{self.name} adds a bias to its attention, which its page could not show: choose a model "
                        "without one, such as a plain ViT, DeiT, DINO or CLIP."
                    )
                q, k, _ = asked.each_head()
                self.q.append(q)
                self.k.append(k)
                self.scales.append(asked.scale)
        return func(*args, **kwargs)


class Watched(nn.Module):
    """pixels "1 channel row col" -> logits "1 class" (where the model classifies), q and k "layer head token dim"."""

    def __init__(self, model: Model, module: nn.Module, tokens: int):
        super().__init__()
        self.model, self.module, self.tokens = model, module, tokens
        self.eval()
        self.scales: tuple[float, ...] = ()
        self.dim = 0

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        with QueriesAndKeys(self.model.name, self.tokens) as seen:
            _, logits = self.model.adapter.forward(self.module, pixels)
        self.scales, self.dim = tuple(seen.scales), int(seen.q[0].shape[-1])
        q, k = torch.cat(seen.q), torch.cat(seen.k)
        return (q, k) if logits is None else (logits, q, k)


def export(model: Model, half: bool = True) -> Exported:
    """The model at its own size as ONNX; half: weights stored in float16, computed in float32.

    Inputs and outputs as Watched has them. Raises ModelError where packages for it are missing or the exporter fails.
    """
    check_exporter("A page of the model")
    import onnx

    module = copy.deepcopy(model.module).eval().cpu().float()
    rows, cols = model.grid(*model.input_shape)
    watched = Watched(model, module, len(model.prefix_tokens) + rows * cols)
    example = torch.zeros(1, 3, *model.input_shape)
    with visible_attention(module), torch.no_grad():
        names = ["logits", "q", "k"][-len(watched(example)) :]
        scales, dim = watched.scales, watched.dim
        program = torch.onnx.export(
            watched, (example,), input_names=["pixels"], output_names=names, dynamo=True, verbose=False
        )
    assert program is not None
    proto = program.model_proto
    if half:
        _halve(proto)
    file = io.BytesIO()
    onnx.save(proto, file)
    return Exported(file.getvalue(), scales, dim)


def _halve(proto: Any) -> None:
    """Store large weights in float16, each with a node that makes it float32 again when a runtime loads it."""
    from onnx import TensorProto, helper, numpy_helper

    graph, casts = proto.graph, []
    for tensor in graph.initializer:
        numbers = numpy_helper.to_array(tensor) if tensor.data_type == TensorProto.FLOAT else np.zeros(0)
        if numbers.size < HALVED or np.abs(numbers).max() > np.finfo(np.float16).max:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(numbers.astype(np.float16), f"{name}_half"))
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
    for place, node in enumerate(casts):
        graph.node.insert(place, node)
