"""Balanced gradients (LibraGrad, Mehri et al., CVPR 2025): a backward pass in which a ViT is an affine function.

The forward pass is untouched, bit for bit. In the backward pass a norm's deviation, softmax's weights and the gate of
an activation (f(x) = x * gate) count as constants, and a product of two activations (SwiGLU) gives half to either. The
model is then affine in its tokens, x -> J x + c, so that x * gradient, summed, and the biases' share c add up to the
logit: how closely they do is measured on every pass.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name

from explorer.errors import UnsupportedModelError

# By name, without the underscores of methods and of the in-place kind.
GATED = {
    "gelu": 0.5,
    "silu": 0.5,
    "mish": 0.6,
    "hardswish": 0.5,
}  # f(x) = x * gate: the gate at 0, where f has that slope
CONSTANT = {"softmax", "sigmoid", "rsqrt", "sqrt", "std", "var", "var_mean", "norm", "vector_norm"}
WEIGHTED = {"linear", "conv2d"}  # x, weight, bias
SUMS = {"add", "radd", "iadd", "sub", "rsub", "isub", "subtract", "cat", "concat", "stack"}
PRODUCTS = {"mul", "rmul", "imul", "multiply"}
BY_ONE = {"matmul", "rmatmul", "mm", "bmm", "einsum", "div", "truediv", "true_divide"}  # linear in one operand
LINEAR = {
    *("view", "view_as", "reshape", "flatten", "unflatten", "transpose", "swapaxes", "permute", "movedim", "get"),
    *("squeeze", "unsqueeze", "expand", "expand_as", "repeat", "repeat_interleave", "roll", "flip", "contiguous"),
    *("getitem", "select", "narrow", "chunk", "split", "unbind", "gather", "index_select", "clone", "neg"),
    *("to", "type", "type_as", "float", "double", "half", "bfloat16", "sum", "mean", "avg_pool2d", "dropout"),
    *("interpolate", "adaptive_avg_pool1d", "adaptive_avg_pool2d"),
    *("relu", "amax", "max"),  # they let through or select: their own slope is the gate
}


BALANCED_PARTS = "The balanced gradient and the biases"
TOLERANCE = 1e-3  # of the score: an account with a larger gap is said not to close


@dataclass(frozen=True)
class Completeness:
    """An account of a score: what its parts are said to give, beside what the model gave."""

    score: float
    attributions: float  # the sum over all tokens
    biases: float

    @property
    def error(self) -> float:
        """|score - (attributions + biases)| / |score|."""
        gap = abs(self.score - self.attributions - self.biases)
        return gap / abs(self.score) if self.score else (0.0 if gap == 0 else float("inf"))

    def note(self, parts: str, tolerance: float = TOLERANCE) -> str:
        """A sentence where the parts, so called, don't add up to the score; "" where they do."""
        if self.error <= tolerance:
            return ""
        return f"{parts} add up to {self.attributions + self.biases:.4g}, not to the score of {self.score:.4g}."


class _Scaled(torch.autograd.Function):
    """A value whose backward pass is that of x * gate with a constant gate."""

    @staticmethod
    def forward(ctx, x, gate, value):  # value comes in a tuple, so that it isn't taken for an input
        ctx.save_for_backward(gate)
        return value[0]

    @staticmethod
    def backward(ctx, *grad_outputs):
        return grad_outputs[0] * ctx.saved_tensors[0], None, None


class _Product(torch.autograd.Function):
    """a * b, of which either gets half the gradient."""

    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return a * b

    @staticmethod
    def backward(ctx, *grad_outputs):
        a, b = ctx.saved_tensors
        half = grad_outputs[0] / 2
        return (half * b).sum_to_size(a.shape), (half * a).sum_to_size(b.shape)


def tensors_in(values: Any) -> Iterator[Tensor]:
    """All tensors in nested lists, tuples and dictionaries."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from tensors_in(value)
    elif isinstance(values, dict):
        yield from tensors_in(list(values.values()))


def depends_on_input(value: Any) -> bool:
    """Whether it depends on the image: a parameter doesn't, also where somebody trains it."""
    return isinstance(value, Tensor) and value.requires_grad and not isinstance(value, nn.Parameter)


class BalancedMode(TorchFunctionMode):
    """While it is active, what a model computes from an input that requires a gradient gets the balanced one.

    `biases()` is the share of all constants that the last backward pass met. An operation that has no rule is refused
    by name, as UnsupportedModelError, once a gradient reaches it. A mode belongs to its thread.
    """

    def __init__(self, model_name: str):
        super().__init__()
        self.model_name = model_name
        self._shares: list[tuple[int, Tensor]] = []

    def biases(self, after: Tensor | None = None) -> float:
        """The constants' share in the score since the last call, but for those added in computing `after` itself."""
        total = sum(float(share) for made, share in self._shares if made != id(after))
        self._shares.clear()
        return total

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = _name(func)
        varying = sum(map(depends_on_input, tensors_in((args, kwargs))))
        if not varying or name in CONSTANT:
            with torch.no_grad():
                return func(*args, **kwargs)
        if rule := RULES.get(name):
            return rule(self, func, *args, **kwargs)
        out = func(*args, **kwargs)
        if name in SUMS:
            self._count_constants(out, func, args, kwargs)
        elif not (
            name in LINEAR or (name in BY_ONE and varying == 1 and ("div" not in name or depends_on_input(args[0])))
        ):
            self._refuse(out, func)
        return out

    def _count(self, out: Tensor, constant: Tensor | None) -> None:
        """Note a constant that was added in making `out`: its share is its product with the gradient."""
        if constant is None or not out.requires_grad:
            return
        constant, made = constant.detach(), id(out)
        out.register_hook(lambda grad: self._shares.append((made, (grad * constant).sum())))

    def _count_constants(self, out: Tensor, func: Callable, args: Any, kwargs: Any) -> None:
        """The constant part of a sum is what comes out where all that depends on the input is 0."""
        given = (*args, *kwargs.values())
        operands = given[0] if isinstance(given[0], (list, tuple)) else given[:2]
        if all(depends_on_input(operand) for operand in operands):
            return
        with torch.no_grad():
            self._count(out, func(*_zero(args), **_zero(kwargs)))

    def _refuse(self, out: Any, func: Callable) -> None:
        name = (resolve_name(func) or func.__name__).removeprefix("torch.")

        def refuse(grad: Tensor) -> None:
            raise UnsupportedModelError(
                f"{self.model_name} computes its score with {name}, for which there is no balanced gradient: ask for "
                "relevance with balanced=False, or for attention or rollout."
            )

        for tensor in tensors_in(out):
            if tensor.requires_grad:
                tensor.register_hook(refuse)


def _name(func: Callable[..., Any]) -> str:
    """Without the underscores of methods and of the in-place kind."""
    return func.__name__.strip("_")


def _zero(values: Any) -> Any:
    if isinstance(values, Tensor):
        return torch.zeros_like(values) if depends_on_input(values) else values
    if type(values) in (list, tuple):
        return type(values)(map(_zero, values))
    return {key: _zero(value) for key, value in values.items()} if isinstance(values, dict) else values


def _layer_norm(mode, func, input, normalized_shape, weight=None, bias=None, eps=1e-5, *others):
    """((x - mean) / deviation) * weight + bias with a constant deviation."""
    axes = tuple(range(-len(normalized_shape), 0))
    with torch.no_grad():
        value = func(input, normalized_shape, weight, bias, eps, *others)
        gate = (input.var(axes, unbiased=False, keepdim=True) + eps).rsqrt()
        gate = gate if weight is None else gate * weight
    out = _Scaled.apply(input - input.mean(axes, keepdim=True), gate, (value,))
    mode._count(out, bias)
    return out


def _rms_norm(mode, func, input, normalized_shape, weight=None, eps=None):
    """x / root mean square * weight with a constant root mean square."""
    axes = tuple(range(-len(normalized_shape), 0))
    with torch.no_grad():
        value = func(input, normalized_shape, weight, eps)
        gate = (
            input.square().mean(axes, keepdim=True) + (torch.finfo(input.dtype).eps if eps is None else eps)
        ).rsqrt()
        gate = gate if weight is None else gate * weight
    return _Scaled.apply(input, gate, (value,))


def _gate(mode, func, input, *args, **kwargs):
    """x * gate with a constant gate, f(x) / x; at 0 their slope there."""
    with torch.no_grad():
        value = func(input.clone() if kwargs.get("inplace") else input, *args, **kwargs)
        gate = torch.where(input == 0, GATED[_name(func)], value / input)
    return _Scaled.apply(input, gate, (value,))


def _attention(mode, func, query, key, value, attn_mask=None, *args, **kwargs):
    """pattern @ v with a constant pattern."""
    mask = None if attn_mask is None else attn_mask.detach()
    return func(query.detach(), key.detach(), value, mask, *args, **kwargs)


def _product(mode, func, a, b, **kwargs):
    if not (depends_on_input(a) and depends_on_input(b)):
        return func(a, b, **kwargs)
    if func.__name__.endswith("_") and not func.__name__.endswith("__"):  # in place: there's no room for a rule
        out = func(a, b, **kwargs)
        mode._refuse(out, func)
        return out
    return _Product.apply(a, b)


def _weigh(mode, func, input, weight, bias=None, *args, **kwargs):
    out = func(input, weight, bias, *args, **kwargs)
    if depends_on_input(weight) or depends_on_input(bias):
        mode._refuse(out, func)
    elif bias is not None:
        mode._count(out, bias if func.__name__ == "linear" else bias[:, None, None])
    return out


def _cosine(mode, func, x1, x2, dim=1, eps=1e-8):
    """The product with the other's direction, divided by a constant length; only a score asks for it."""
    moving, fixed = (x1, x2) if depends_on_input(x1) else (x2, x1)
    with torch.no_grad():
        length = moving.norm(dim=dim, keepdim=True).clamp_min(eps)
        direction = fixed / fixed.norm(dim=dim, keepdim=True).clamp_min(eps) / length
    out = (moving * direction).sum(dim)
    if depends_on_input(fixed):
        mode._refuse(out, func)
    return out


RULES: dict[str, Callable[..., Any]] = {
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "scaled_dot_product_attention": _attention,
    "cosine_similarity": _cosine,
    **dict.fromkeys(GATED, _gate),
    **dict.fromkeys(PRODUCTS, _product),
    **dict.fromkeys(WEIGHTED, _weigh),
}
