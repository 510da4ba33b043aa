"""The one interception point for attention: a mode that sees every scaled_dot_product_attention of a forward pass."""

import math
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.overrides import TorchFunctionMode

from explorer.attention import weights
from explorer.attention.own_blocks import Follower
from explorer.attention.residual import ResidualStream
from explorer.attention.sdpa import arguments
from explorer.errors import RecordingError

Rows = Float[Tensor, "head row dim"]  # of the result of attention

CHECKED_ROWS = 8  # rows of every call that the self-check recomputes, at least
SPARE = 64 * 2**20  # bytes of memory for q and k that a recording leaves to the next, at most

_spare: deque[np.ndarray] = deque(maxlen=1)


@dataclass(frozen=True)
class Call:
    """One attention layer: q, k, the scale of q k^T, and what was added before softmax."""

    q: Float[Tensor, "head token dim"]
    k: Float[Tensor, "head token dim"]
    scale: float
    bias: Float[Tensor, "#head #token token"] | None  # the head and query axes are 1 where all share it

    def pattern(self, block: Int[Tensor, " query"] | slice) -> Float[Tensor, "head query key"]:
        """The softmax rows of some tokens, given by their indices, float32."""
        return weights.pattern(self.q[:, block].float(), self.k.float(), self.scale, self._bias_of(block))

    def each_head(self, block: Int[Tensor, " query"], softmax: bool = True) -> Iterator[Float[Tensor, "query key"]]:
        """The same (or, without softmax, the scores) head by head, in one buffer that all heads share."""
        return weights.each_head(self.q[:, block], self.k, self.scale, self._bias_of(block), softmax)

    def fused_rows(self, block: Int[Tensor, " query"], fusion: str, softmax: bool = True) -> Float[Tensor, "query key"]:
        """The softmax rows (or scores) of some tokens, fused over heads, float32."""
        return weights.fuse_each(self.each_head(block, softmax), self.q.shape[0], fusion)

    def head(self, index: int) -> "Call":
        """The call with one head only."""
        bias = self.bias if self.bias is None or self.bias.shape[0] == 1 else self.bias[index : index + 1]
        return replace(self, q=self.q[index : index + 1], k=self.k[index : index + 1], bias=bias)

    def half(self) -> "Call":
        """The call in float16; RecordingError where a number of q or k is too large for it."""
        q, k = self.q.half(), self.k.half()
        if q.isinf().any() or k.isinf().any():
            raise RecordingError(
                "This recording passes its byte budget, and its q and k are too large for float16 (over 65,504): "
                "use a smaller input size."
            )
        return replace(self, q=q, k=k, bias=None if self.bias is None else self.bias.half())

    def _bias_of(self, block: Tensor | slice) -> Float[Tensor, "#head #query key"] | None:
        """What is added before softmax, with axes of 1 where heads or queries share it, or None."""
        if self.bias is None:
            return None
        return (self.bias if self.bias.shape[1] == 1 else self.bias[:, block]).float()


class AttentionRecorder(TorchFunctionMode):
    """Keeps q and k of every self-attention over `tokens` tokens while it is active; a mode belongs to its thread.

    Calls of other shapes (attention pooling at the end, windows, several images) are noted in `other_shapes` as
    (batch, heads, queries, keys) and not kept. Once the kept tensors pass byte_budget, they are all held in float16.
    Leaving it runs the self-check, and raises RecordingError where that fails. follower: for models whose blocks aren't
    a library's own. parallel: calls side by side in each layer.
    """

    def __init__(self, tokens: int, layers: int, byte_budget: int, follower: Follower | None = None, parallel: int = 1):
        super().__init__()
        self.tokens = tokens
        self.layers = layers * parallel
        self.parallel = parallel
        self.byte_budget = byte_budget
        self.dtype = torch.float32
        self.calls: list[Call] = []
        self.other_shapes: list[tuple[int, ...]] = []
        self.stream = ResidualStream(tokens, copies=follower is not None)
        self.follower = follower
        self._checked_rows = slice(0, None, max(1, (tokens - 1) // (CHECKED_ROWS - 1)))  # the first to the last
        self._checks: list[tuple[Tensor, Tensor]] = []  # of each call: what its rows should be, and what they are
        self._places: Iterator[tuple[Tensor, Tensor]] = iter(())  # for q and k of the layers to come

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        followed = self.stream.follows(func)
        if followed:
            self.stream.before(args)
        if self.follower:
            self.stream.reads(args)
            self.follower.before(func, args, kwargs)
        out = func(*args, **kwargs)
        if followed:
            self.stream.after(out)
        if self.follower:
            self.follower.after(func, out)
        if func is F.scaled_dot_product_attention:
            self._see(out, *args, **kwargs)
        return out

    def __exit__(self, kind, error, trace):
        super().__exit__(kind, error, trace)
        if error is None:
            for checks in group_alike(self._checks):  # together: a GPU is waited for once, not for every layer
                self_check(*map(torch.cat, checks))

    def _see(self, out, *args, **kwargs):
        asked = arguments(*args, **kwargs)
        if not asked.is_over(self.tokens):
            self.other_shapes.append(asked.shape)
            return
        if asked.is_causal:
            raise RecordingError("This model's attention is causal: it is a decoder, not a Vision Transformer.")
        query, key, value = asked.each_head()
        call = self._copy(query, key, asked.scale, asked.bias())
        rows = self._checked_rows
        with weights.full_precision(out.device):
            expected = torch.bmm(call.pattern(rows), value[0].float())
        self._checks.append((expected, out[0, :, rows].clone()))
        if len(self.calls) % self.parallel == 0:
            self.stream.attended()
        self._keep(call)
        if self.follower:
            self.follower.attended(asked.v, out)

    def by_layer(self) -> list[Call]:
        """One call per layer; calls side by side become one with the heads of all."""
        return [join_heads(calls) for calls in zip(*[iter(self.calls)] * self.parallel, strict=True)]

    def _copy(self, q: Tensor, k: Tensor, scale: float, bias: Tensor | None) -> Call:
        """A float32 copy, which holds on to none of the model's tensors and which the model can't write to."""
        if not self.calls and self.layers * 8 * q.numel() <= self.byte_budget:
            place = room(2 * self.layers, *q.shape, device=q.device)
            self._places = zip(place.unbind(), place[:, 0].unbind(), strict=True)
        q, k = (self._place(t) for t in (q, k))
        return Call(q, k, scale, None if bias is None else bias.to(torch.float32, copy=True))

    def _place(self, t: Tensor) -> Tensor:
        """Copy "1 head token dim" to its place, "head token dim"."""
        pair = next(self._places, None)
        if pair is None or pair[0].shape != t.shape:
            return torch.empty(t.shape, device=t.device).copy_(t)[0]
        pair[0].copy_(t)
        return pair[1]

    def _keep(self, call: Call) -> None:
        self.calls.append(share_bias(self.calls, call if self.dtype == torch.float32 else call.half()))
        if self.dtype == torch.float32 and kept_bytes(self.calls) > self.byte_budget:
            self.dtype = torch.float16
            self.calls = halve(self.calls)
            self._places = iter(())


def room(*shape: int, device: torch.device) -> Float[Tensor, "..."]:
    """Uninitialised float32 memory; on a CPU that of the last recording, if it is gone and had the same size.

    Fetching new pages from the system can take a tenth of a small model's pass.
    """
    if device.type != "cpu":
        return torch.empty(shape, device=device)
    numbers = math.prod(shape)
    try:
        memory = _spare.pop()
    except IndexError:
        memory = None
    if memory is None or memory.size != numbers:
        memory = np.empty(numbers, np.float32)
    view = memory.view()  # which the tensor keeps alive
    if memory.nbytes <= SPARE:
        weakref.finalize(view, _spare.append, memory).atexit = False
    return torch.from_numpy(view).view(shape)


def join_heads(calls: Sequence[Call]) -> Call:
    """Calls of one layer, whose results are added to one another, as the one call of all their heads."""
    if len(calls) == 1:
        return calls[0]
    if any(call.bias is not None or call.scale != calls[0].scale for call in calls):
        raise RecordingError("Attentions side by side with a bias, or of different scales, can't be shown.")
    q, k = (torch.cat([getattr(call, name) for call in calls]) for name in ("q", "k"))
    return replace(calls[0], q=q, k=k)


def share_bias(calls: list[Call], call: Call) -> Call:
    """The call, with the bias tensor of the layer before where the two are equal: some models give all layers one."""
    before = calls[-1].bias if calls else None
    if before is None or call.bias is None or not torch.equal(before, call.bias):
        return call
    return replace(call, bias=before)


def halve(calls: list[Call]) -> list[Call]:
    """The calls in float16, with a shared bias still shared."""
    halves: list[Call] = []
    for call in calls:
        halves.append(share_bias(halves, call.half()))
    return halves


def kept_bytes(calls: list[Call]) -> int:
    """The memory that the calls hold; a bias that layers share counts once."""
    tensors = [t for call in calls for t in (call.q, call.k, call.bias) if t is not None]
    return sum({id(t): t.numel() * t.element_size() for t in tensors}.values())


def group_alike(checks: list[tuple[Rows, Rows]]) -> Iterator[tuple[tuple[Rows, ...], tuple[Rows, ...]]]:
    """The pairs in groups whose heads can be joined: one group where all layers are alike."""
    kinds: dict[tuple, list[tuple[Rows, Rows]]] = {}
    for expected, got in checks:
        kinds.setdefault((got.shape[1:], got.dtype), []).append((expected, got))
    for pairs in kinds.values():
        expected, got = zip(*pairs, strict=True)
        yield expected, got


def self_check(expected: Rows, got: Rows) -> None:
    """Compare softmax(q k^T) v, recomputed for a few rows, with what the model's own call returned, head by head.

    Raises RecordingError on a mismatch: no picture is better than a wrong one.
    """
    tolerance = 1e-3 if torch.finfo(got.dtype).bits >= 32 else 3e-2
    got = got.float()
    errors = (expected - got).abs().amax((1, 2)) / got.abs().amax((1, 2)).clamp_min(1e-12)
    error = float(errors.max())
    if not error <= tolerance:
        raise RecordingError(
            f"The recorded q and k don't reproduce the model's own attention (relative error {error:.2g}): "
            "this model computes something else, so no map of it would be true."
        )
