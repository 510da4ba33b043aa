"""The one interception point for attention: a mode that sees every scaled_dot_product_attention of a forward pass."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import Lock
from weakref import WeakKeyDictionary, ref

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from explorer.attention import maps
from explorer.errors import RecordingError

CHECKED_ROWS = 8  # rows of every call that the self-check recomputes
ADDITIONS = (torch.Tensor.add, torch.Tensor.add_, torch.add)


@dataclass(frozen=True)
class Call:
    """One attention layer: q and k "head token dim", the scale of q k^T, and what was added before softmax."""

    q: Tensor
    k: Tensor
    scale: float
    bias: Tensor | None  # "head query key"; the head and query axes may be 1 where all share it

    def pattern(self, block: Tensor) -> Tensor:
        """Token indices "query" -> their softmax rows, "head query key" float32."""
        return maps.pattern(self.q[:, block].float(), self.k.float(), self.scale, self._bias_of(block))

    def each_head(self, block: Tensor, softmax: bool = True) -> Iterator[Tensor]:
        """The same (or, without softmax, the scores) head by head, "query key", in one buffer that all heads share."""
        return maps.each_head(self.q[:, block], self.k, self.scale, self._bias_of(block), softmax)

    def fused(self, block: Tensor, fusion: str, softmax: bool = True) -> Tensor:
        """Token indices "query" -> their softmax rows (or scores) fused over heads, "query key" float32."""
        return maps.fuse_each(self.each_head(block, softmax), self.q.shape[0], fusion)

    def head(self, index: int) -> "Call":
        """The call with one head only."""
        bias = self.bias if self.bias is None or self.bias.shape[0] == 1 else self.bias[index : index + 1]
        return replace(self, q=self.q[index : index + 1], k=self.k[index : index + 1], bias=bias)

    def _bias_of(self, block: Tensor) -> Tensor | None:
        """ "head query key" float32 with axes of 1 where heads or queries share it, or None."""
        if self.bias is None:
            return None
        return (self.bias if self.bias.shape[1] == 1 else self.bias[:, block]).float()


class AttentionRecorder(TorchFunctionMode):
    """Keeps q and k of every self-attention over `tokens` tokens while it is active; a mode belongs to its thread.

    Calls of other shapes (attention pooling at the end, windows) are counted in `other_shapes` and not kept. Once the
    kept tensors pass byte_budget, they are all held in float16.
    """

    def __init__(self, tokens: int, byte_budget: int):
        super().__init__()
        self.tokens = tokens
        self.byte_budget = byte_budget
        self.dtype = torch.float32
        self.calls: list[Call] = []
        self.other_shapes: list[tuple[int, ...]] = []
        self.stream = ResidualStream(tokens)
        self._newest_bias: Tensor | None = None  # as the model gave it

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        self.stream.before(func, args)
        out = func(*args, **kwargs)
        self.stream.after(out)
        if func is F.scaled_dot_product_attention:
            self._keep(out, *args, **kwargs)
        return out

    def _keep(self, out, query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, **kwargs):
        if query.ndim != 4 or query.shape[0] != 1 or not query.shape[2] == key.shape[2] == self.tokens:
            self.other_shapes.append(tuple(query.shape))
            return
        if is_causal:
            raise RecordingError("This model's attention is causal: it is a decoder, not a Vision Transformer.")
        q, k, v = (t.detach()[0] for t in (query, key, value))
        k, v = (t.repeat_interleave(len(q) // len(t), 0) if len(t) < len(q) else t for t in (k, v))  # grouped queries
        scale = 1 / math.sqrt(q.shape[-1]) if scale is None else float(scale)
        call = Call(q, k, scale, additive(attn_mask, q.dtype))
        self_check(call, v, out.detach()[0])
        # contiguous() lets go of the fused qkv tensor, a third of which is v.
        q, k = (t.to(self.dtype).contiguous() for t in (q, k))
        self.calls.append(replace(call, q=q, k=k, bias=self._kept_bias(call.bias)))
        self.stream.attended()
        if self.dtype == torch.float32 and kept_bytes(self.calls) > self.byte_budget:
            self.dtype = torch.float16
            self.calls = halved(self.calls)

    def _kept_bias(self, bias: Tensor | None) -> Tensor | None:
        """The bias as it is kept; the same tensor again where the model gives one bias to all its layers."""
        if bias is None:
            return None
        if self._newest_bias is not None and self._newest_bias.data_ptr() == bias.data_ptr():
            return self.calls[-1].bias
        self._newest_bias = bias
        return bias.to(self.dtype)


class ResidualStream:
    """Follows the residual stream x of a forward pass through x = x + attention(...), x = x + mlp(...).

    It begins as the older operand of the first addition after the first attention; from then on each sum with it is the
    new x. `norms` has the L2 norms of x at every attention. Where a layer adds to anything else (a norm after the sum),
    the stream is `broken`: its norms are not known.
    """

    def __init__(self, tokens: int):
        self.tokens = tokens
        self.norms: list[Tensor] = []
        self.broken = False
        self._older: list[ref[Tensor]] = []  # what was there before the first attention
        self._layers = 0
        self._x: Tensor | None = None
        self._adding = False

    def before(self, func, args) -> None:
        """Call ahead of each function: an addition in place would change x."""
        self._adding = False
        if not args or not self._is_token_tensor(args[0]):
            return
        if not self._layers:
            self._older.append(ref(args[0]))
        elif func in ADDITIONS and len(args) > 1 and self._is_token_tensor(args[1]):
            self._note_sum(args[0], args[1])

    def after(self, out) -> None:
        """Call with each function's result."""
        if self._adding:
            self._x = out

    def attended(self) -> None:
        """Call after each kept attention."""
        self.broken = self.broken or len(self.norms) < self._layers
        self._layers += 1

    def all_norms(self) -> Tensor | None:
        """ "layer token": x at the input of every block and, last, after the last one; None where not known."""
        if self.broken or self._x is None or len(self.norms) < self._layers:
            return None
        return torch.stack([*self.norms, _norms(self._x)])

    def _note_sum(self, a: Tensor, b: Tensor) -> None:
        first = self._x is None
        known = [x for x in (a, b) if (any(x is old() for old in self._older) if first else x is self._x)]
        if len(known) != 1:
            return
        self._adding = True
        if len(self.norms) < self._layers:
            self.norms.append(_norms(known[0]))

    def _is_token_tensor(self, x) -> bool:
        return isinstance(x, Tensor) and x.ndim == 3 and x.shape[0] == 1 and x.shape[1] == self.tokens


def _norms(x: Tensor) -> Tensor:
    return x.detach()[0].float().norm(dim=-1)


def kept_bytes(calls: list[Call]) -> int:
    """The memory that the calls hold; a bias that layers share counts once."""
    tensors = [t for call in calls for t in (call.q, call.k, call.bias) if t is not None]
    return sum({t.data_ptr(): t.numel() * t.element_size() for t in tensors}.values())


def halved(calls: list[Call]) -> list[Call]:
    """The calls in float16, with a shared bias still shared."""
    biases = {call.bias.data_ptr(): call.bias.half() for call in calls if call.bias is not None}
    return [
        replace(c, q=c.q.half(), k=c.k.half(), bias=None if c.bias is None else biases[c.bias.data_ptr()])
        for c in calls
    ]


def additive(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """The mask of a call as a bias "head query key" to add before softmax; None where it leaves all scores alone."""
    if mask is None:
        return None
    mask = mask.detach()
    if mask.dtype == torch.bool:
        if mask.all():
            return None
        mask = torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, -math.inf)
    while mask.ndim < 4:
        mask = mask[None]
    return mask[0]


def self_check(call: Call, v: Tensor, out: Tensor) -> None:
    """Recompute softmax(q k^T) v for a few rows and compare with what the model's own call returned.

    v and out are "head token dim". Raises RecordingError on a mismatch: no picture is better than a wrong one.
    """
    rows = torch.linspace(0, out.shape[1] - 1, CHECKED_ROWS, device=out.device).round().long()
    expected = call.pattern(rows) @ v.float()
    got = out[:, rows].float()
    tolerance = 1e-3 if out.dtype == torch.float32 else 3e-2
    error = float((expected - got).abs().max() / got.abs().max().clamp_min(1e-12))
    if not error <= tolerance:
        raise RecordingError(
            f"The recorded q and k don't reproduce the model's own attention (relative error {error:.2g}): "
            "this model computes something else, so no map of it would be true."
        )


_switched: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()  # how many recordings hold a layer's switch on
_switch_lock = Lock()


@contextmanager
def fused_attention(module: nn.Module) -> Iterator[None]:
    """Switch on scaled_dot_product_attention where timm layers were built without it, and off again at the end.

    Recordings that share the model in several threads count their use: the last one to end restores the switches.
    """
    with _switch_lock:
        layers = [m for m in module.modules() if m in _switched or getattr(m, "fused_attn", None) is False]
        for layer in layers:
            layer.fused_attn = True  # type: ignore[assignment]
            _switched[layer] = _switched.get(layer, 0) + 1
    try:
        yield
    finally:
        with _switch_lock:
            for layer in layers:
                _switched[layer] -= 1
                if not _switched[layer]:
                    layer.fused_attn = False  # type: ignore[assignment]
                    del _switched[layer]
