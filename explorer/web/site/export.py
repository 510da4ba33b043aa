"""A model as ONNX that also gives q and k of every layer, for runtimes that have no recorder."""

import copy
import io
import json
from dataclasses import dataclass, replace
from pathlib import Path
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
    """The ONNX file; of its q and k (layer, head, token, dim) the last axis, and the scale of q k^T per layer.

    outside: bytes of the weights file that it refers to, if it does.
    """

    onnx: bytes
    scales: tuple[float, ...]
    dim: int
    outside: int = 0

    @property
    def bytes(self) -> int:
        """All that is to be fetched for the model."""
        return len(self.onnx) + self.outside


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
        self.scales, self.dim = tuple(seen.scales[:: self.model.parallel]), int(seen.q[0].shape[-1])
        q, k = torch.cat(seen.q), torch.cat(seen.k)
        return (q, k) if logits is None else (logits, q, k)


def export(model: Model, half: bool = True) -> Exported:
    """The model at its own size as ONNX; half: weights stored in float16, computed in float32.

    Inputs and outputs as Watched has them. Raises ModelError where packages for it are missing or the exporter fails.
    """
    check_exporter("A page of the model")
    import onnx

    module = copy.deepcopy(model.module).eval().cpu().float()
    shape = model.geometry_of((1, 1)).input  # of any photo: only the fit "keep" depends on its shape
    rows, cols = model.grid(*shape)
    watched = Watched(model, module, len(model.prefix_tokens) + rows * cols)
    example = torch.zeros(1, 3, *shape)
    with visible_attention(module), torch.no_grad():
        names = ["logits", "q", "k"][-len(watched(example)) :]
        scales, dim = watched.scales, watched.dim
        program = torch.onnx.export(
            watched, (example,), input_names=["pixels"], output_names=names, dynamo=True, verbose=False
        )
    assert program is not None
    proto = program.model_proto
    _forget_origin(proto)
    if half:
        _halve(proto)
    file = io.BytesIO()
    onnx.save(proto, file)
    return Exported(file.getvalue(), scales, dim)


def refer_to(exported: Exported, weights: Path) -> Exported:
    """The same, but tensors that lie in a safetensors file, as they are or transposed, are read from there.

    So a page beside a checkpoint in float16 needs no second copy of it. The runtime must be given the file under its
    own name.
    """
    import onnx
    from onnx import helper, numpy_helper

    places = _places(weights)
    proto = onnx.load_model_from_string(exported.onnx)
    turns = []
    for tensor in proto.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT16:
            continue
        numbers = numpy_helper.to_array(tensor)
        if place := places.get(numbers.tobytes()):
            _leave_outside(tensor, weights.name, place, numbers.shape)
        elif numbers.ndim == 2 and (place := places.get(numbers.T.tobytes())):
            turned, tensor.name = tensor.name, f"{tensor.name}_turned"
            _leave_outside(tensor, weights.name, place, numbers.T.shape)
            turns.append(helper.make_node("Transpose", [tensor.name], [turned], perm=[1, 0]))
    for place, node in enumerate(turns):
        proto.graph.node.insert(place, node)
    return replace(exported, onnx=proto.SerializeToString(), outside=weights.stat().st_size)


def _places(weights: Path) -> dict[bytes, tuple[int, int]]:
    """(offset, length) of each tensor in a safetensors file, by its bytes."""
    content = weights.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    spans = [about["data_offsets"] for name, about in json.loads(content[8:start]).items() if name != "__metadata__"]
    return {content[start + first : start + end]: (start + first, end - first) for first, end in spans}


def _leave_outside(tensor: Any, location: str, place: tuple[int, int], shape: tuple[int, ...]) -> None:
    from onnx.external_data_helper import set_external_data

    set_external_data(tensor, location, offset=place[0], length=place[1])
    tensor.ClearField("raw_data")
    tensor.dims[:] = shape


def _forget_origin(proto: Any) -> None:
    """Drop what the exporter notes for debugging, half a megabyte with paths of this machine."""
    del proto.graph.value_info[:]
    for part in (proto, proto.graph, *proto.graph.node):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


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
