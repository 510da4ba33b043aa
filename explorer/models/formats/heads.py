"""The classifier of a state dict: a linear layer, perhaps behind dropout or a norm; a deeper one is left out."""

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from explorer.models.formats.dialects import Tensors

LAYER_NORM_EPSILON, BATCH_NORM_EPSILON = 1e-5, 1e-5  # PyTorch's own
MAE_EPSILON = 1e-6  # of the batch norm without weights in MAE's linear probe
COUNTER = "num_batches_tracked"
NORM_PARTS = {"weight", "bias", "running_mean", "running_var", COUNTER}


@dataclass(frozen=True)
class Head:
    """What became of a classifier: tensors under timm's names, the norm before it, and sentences.

    tensors: all of the state dict, with head.weight and head.bias only where there is a linear classifier. norm: weight
    and bias "width" of a LayerNorm in front of it. left_out: keys of a classifier that isn't linear.
    """

    tensors: Tensors
    norm: tuple[Tensor, Tensor] | None = None
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def put_norm(self, module: Any) -> None:
        """Set the norm in front of the module's classifier, once that is filled."""
        if self.norm is not None:
            norm = nn.LayerNorm(len(self.norm[0]), eps=LAYER_NORM_EPSILON)
            norm.load_state_dict({"weight": self.norm[0], "bias": self.norm[1]})
            module.head = nn.Sequential(norm, module.head)


def read_head(tensors: Tensors, width: int) -> Head:
    """The classifier under "head." of a state dict in timm's names, which reads vectors of that width."""
    group = {key.removeprefix("head."): tensor for key, tensor in tensors.items() if key.startswith("head.")}
    layers = [key for key, tensor in group.items() if key.endswith("weight") and tensor.ndim == 2]
    hidden = [key for key in tensors if key.startswith("pre_logits.")]
    if group.keys() == {"weight", "bias"} and not hidden:
        return Head(tensors)  # a wrong shape is named where it is compared with the module's
    rest = {key: tensor for key, tensor in tensors.items() if not key.startswith(("head.", "head_dist."))}
    linear = layers[0].removesuffix("weight") if len(layers) == 1 else None
    norm = None if linear is None else _norm(group, linear, width)
    if linear is None or norm is None or hidden or group[layers[0]].shape[1] != width:
        return Head(rest, notes=_lost(layers, hidden), left_out=tuple(key for key in tensors if key not in rest))
    weight = group[layers[0]]
    kept = {"head.weight": weight, "head.bias": group.get(f"{linear}bias", weight.new_zeros(len(weight)))}
    dist = {key: tensor for key, tensor in tensors.items() if key.startswith("head_dist.")}
    return _behind_norm(rest | dist, kept, norm, linear)


def _norm(group: Tensors, linear: str, width: int) -> Tensors | None:
    """The parts of the norm in front of the linear layer, empty without one; None where it is something else."""
    others = [key for key in group if not key.startswith(linear) or key.removeprefix(linear) not in ("weight", "bias")]
    names = {key.rpartition(".")[0] for key in others}
    parts = {key.rpartition(".")[2]: group[key] for key in others}
    if not others:
        return {}
    name = next(iter(names))
    behind = name.isdigit() and linear[:-1].isdigit() and int(name) > int(linear[:-1])
    sized = all(tensor.shape == (width,) for part, tensor in parts.items() if part != COUNTER)
    paired = {"weight", "bias"} <= parts.keys() or {"running_mean", "running_var"} <= parts.keys()
    return parts if len(names) == 1 and parts.keys() <= NORM_PARTS and paired and sized and not behind else None


def _behind_norm(rest: Tensors, head: Tensors, norm: Tensors, linear: str) -> Head:
    if "running_mean" in norm:
        epsilon = BATCH_NORM_EPSILON if "weight" in norm else MAE_EPSILON
        note = f"A batch norm stands before the classifier: its epsilon of {epsilon:g} is assumed."
        return Head(rest | _fold(head, norm, epsilon), notes=(note,))
    if norm:
        note = f"A LayerNorm stands before the classifier: its epsilon of {LAYER_NORM_EPSILON:g} is assumed."
        return Head(rest | head, (norm["weight"], norm["bias"]), (note,))
    index = re.match(r"\d+", linear)
    if index is None:
        return Head(rest | head)
    before, behind = "before the classifier, without weights, is taken to be dropout", "behind it, without weights"
    note = (
        f"What stands {before}."
        if int(index[0])
        else f"The classifier begins a sequence: what stands {behind}, is left out."
    )
    return Head(rest | head, notes=(note,))


def _fold(head: Tensors, norm: Tensors, epsilon: float) -> Tensors:
    """The linear layer behind a batch norm as one linear layer: in evaluation both are affine."""
    scale = (norm["running_var"].double() + epsilon).rsqrt() * norm.get("weight", torch.ones(1)).double()
    shift = norm.get("bias", torch.zeros(1)).double() - norm["running_mean"].double() * scale
    weight, bias = head["head.weight"].double(), head["head.bias"].double()
    return {"head.weight": (weight * scale).float(), "head.bias": (bias + weight @ shift).float()}


def _lost(layers: list[str], hidden: list[str]) -> tuple[str, ...]:
    if not layers:
        return ()  # a projector of self-supervised training, no classifier
    names = ", ".join(dict.fromkeys(key.rpartition(".")[0] for key in (*hidden, *(f"head.{key}" for key in layers))))
    return (
        f"The classifier has more than one linear layer ({names}), and the file can't say what lies between them: "
        "its classes are left out.",
    )
