"""The one interception point for attention: a mode that sees every scaled_dot_product_attention of a forward pass."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from explorer.attention import maps
from explorer.errors import RecordingError

CHECKED_ROWS = 4  # rows of every call that the self-check recomputes


@dataclass(frozen=True)
class Call:
    """One attention layer: q and k "head token dim", the scale of q k^T, and what was added before softmax."""

    q: Tensor
    k: Tensor
    scale: float
    bias: Tensor | None  # "head token token" or "1 token token"
    token_norms: Tensor | None  # (token,) L2 norm of the residual stream that entered the block


class AttentionRecorder(TorchFunctionMode):
    """Keeps q and k of every self-attention over `tokens` tokens while it is active; a mode belongs to its thread.

    Calls of other shapes (attention pooling at the end, windows) are counted in `other_shapes` and not kept.
    """

    def __init__(self, tokens: int, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.tokens = tokens
        self.dtype = dtype
        self.calls: list[Call] = []
        self.other_shapes: list[tuple[int, ...]] = []
        self.last_norms: Tensor | None = None  # of the newest "1 token width" tensor that a norm layer was given

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            self._keep(out, *args, **kwargs)
        elif func in (F.layer_norm, F.rms_norm):
            self._note_norms(args[0] if args else kwargs["input"])
        return out

    def _note_norms(self, x: Tensor) -> None:
        # Pre-norm blocks hand their residual stream to a norm right before attention; q/k norms have four axes.
        if x.ndim == 3 and x.shape[:2] == (1, self.tokens):
            self.last_norms = x.detach()[0].float().norm(dim=-1)

    def _keep(self, out, query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, **kwargs):
        if query.shape[0] != 1 or query.shape[-2] != self.tokens or key.shape[-2] != self.tokens:
            self.other_shapes.append(tuple(query.shape))
            return
        if is_causal:
            raise RecordingError("This model's attention is causal: it is a decoder, not a Vision Transformer.")
        q, k, v = (t.detach()[0] for t in (query, key, value))
        heads = q.shape[0]
        k, v = (t.repeat_interleave(heads // t.shape[0], 0) if t.shape[0] != heads else t for t in (k, v))
        scale = 1 / math.sqrt(q.shape[-1]) if scale is None else float(scale)
        bias = additive(attn_mask, q.dtype)
        self_check(q, k, v, scale, bias, out.detach()[0])
        # contiguous() lets go of the fused qkv tensor, a third of which is v.
        q, k = (t.to(self.dtype).contiguous() for t in (q, k))
        self.calls.append(Call(q, k, scale, bias, self.last_norms))
        self.last_norms = None


def additive(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """The mask of a call as a bias "head query key" to add before softmax."""
    if mask is None:
        return None
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, -math.inf)
    while mask.ndim < 4:
        mask = mask[None]
    return mask.detach()[0]


def self_check(q: Tensor, k: Tensor, v: Tensor, scale: float, bias: Tensor | None, out: Tensor) -> None:
    """Recompute softmax(q k^T) v for a few rows and compare with what the model's own call returned.

    All are "head token dim". Raises RecordingError on a mismatch: no picture is better than a wrong one.
    """
    rows = torch.linspace(0, q.shape[1] - 1, CHECKED_ROWS, device=q.device).round().long()
    some_bias = None if bias is None else bias.expand(-1, q.shape[1], -1)[:, rows].float()
    expected = maps.pattern(q[:, rows].float(), k.float(), scale, some_bias) @ v.float()
    got = out[:, rows].float()
    tolerance = 1e-3 if out.dtype == torch.float32 else 3e-2
    error = (expected - got).abs().max() / got.abs().max().clamp_min(1e-12)
    if not error <= tolerance:
        raise RecordingError(
            f"The recorded q and k don't reproduce the model's own attention (relative error {error:.2g}): "
            "this model computes something else, so no map of it would be true."
        )
