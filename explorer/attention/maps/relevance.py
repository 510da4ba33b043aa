"""Class relevance (Chefer et al. 2021, the rule for self-attention): attention weighted by what it does to a score.

A_l = mean over heads of (gradient * A)+, R = (I + A_L) ... (I + A_1), and of R the rows of the tokens that the score
is read from, with their weights. The gradient is the balanced one (LibraGrad, Mehri et al. 2025), which no norm,
softmax or activation distorts, or the model's own, as in Chefer's paper. No matrix of tokens x tokens is ever held.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.overrides import TorchFunctionMode

from explorer.attention.balanced import BALANCED_PARTS, Completeness
from explorer.attention.limits import MEMORY_BUDGET
from explorer.attention.readers import weights_of_readers
from explorer.attention.recorded import RecordedPass
from explorer.attention.scores import Likened, Target, on_patches, score_of
from explorer.attention.sdpa import arguments
from explorer.attention.trace import open_trace
from explorer.attention.weights import full_precision
from explorer.errors import QueryError, RecordingError

BLOCK = 256  # query rows whose softmax is held at a time


@dataclass(frozen=True)
class Relevance:
    """Relevance of every token, and how well the balanced gradient behind it adds up."""

    heatmap: Float[np.ndarray, "row col"]  # float32, 0 or more
    tokens: Float[Tensor, " token"]
    completeness: Completeness | None  # None for Chefer's own gradient, or where there is no one residual stream

    @property
    def note(self) -> str:
        return self.completeness.note(BALANCED_PARTS) if self.completeness else ""


class Walk:
    """The row vector of relevance on its way from the last layer to the first."""

    def __init__(self):
        self.calls = 0  # attention calls of the forward pass
        self.rows: list[Tensor] = []  # "token": the start, then after one, two ... of the last layers

    def push(self, layer: int, heads: Float[Tensor, " token"]) -> None:
        """Add what a layer's heads make of the row; RecordingError where layers come in another order."""
        if layer != self.calls - len(self.rows):
            raise RecordingError("This model's layers don't follow one after another, so relevance can't be traced.")
        self.rows.append(self.rows[-1] + heads)


class WalkedAttention(torch.autograd.Function):
    """softmax(q k^T * scale + bias) v whose backward pass also pushes the walk's row through the layer."""

    @staticmethod
    def forward(ctx, q, k, v, bias, scale, walk):  # q, k, v "1 head token dim"; bias "head|1 token|1 token"
        ctx.save_for_backward(q, k, v)
        ctx.bias, ctx.scale, ctx.walk, ctx.layer = bias, scale, walk, walk.calls
        walk.calls += 1
        return F.scaled_dot_product_attention(q, k, v, None if bias is None else bias[None], scale=scale)

    @staticmethod
    def backward(ctx, *grad_outputs):
        tensors = (*ctx.saved_tensors, grad_outputs[0])
        precision = torch.promote_types(grad_outputs[0].dtype, torch.float32)
        q, k, v, out_grad = (t[0].to(precision) for t in tensors)
        q_grad, k_grad, v_grad = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        row = ctx.walk.rows[-1]
        pushed = torch.zeros_like(row)
        bias = None if ctx.bias is None else ctx.bias.to(precision).expand(-1, q.shape[1], -1)
        learns = ctx.needs_input_grad[0]  # q and k do, unless their pattern is a constant
        with full_precision(q.device):
            for start in range(0, q.shape[1], BLOCK):
                block = slice(start, start + BLOCK)
                scores = q[:, block] @ k.mT * ctx.scale
                pattern = (scores if bias is None else scores + bias[:, block]).softmax(dim=-1)
                relevance = pattern * (out_grad[:, block] @ v.mT)
                pushed += row[block] @ relevance.clamp_min(0).mean(dim=0).to(row.dtype)
                v_grad += pattern.mT @ out_grad[:, block]
                if learns:
                    scores_grad = relevance - pattern * relevance.sum(dim=-1, keepdim=True)
                    q_grad[:, block] = scores_grad @ k * ctx.scale
                    k_grad += scores_grad.mT @ q[:, block] * ctx.scale
        ctx.walk.push(ctx.layer, pushed)
        q_grad, k_grad, v_grad = (
            grad[None].to(t.dtype) for grad, t in zip((q_grad, k_grad, v_grad), tensors[:3], strict=True)
        )
        return q_grad if learns else None, k_grad if learns else None, v_grad, None, None, None


class WalkMode(TorchFunctionMode):
    """Sends every self-attention over `tokens` tokens through the walk; balanced: with a constant pattern."""

    def __init__(self, tokens: int, balanced: bool):
        super().__init__()
        self.tokens, self.balanced = tokens, balanced
        self.walk = Walk()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is F.scaled_dot_product_attention:
            asked = arguments(*args, **(kwargs or {}))
            if asked.is_over(self.tokens):
                q, k, v = asked.each_head()
                if self.balanced:
                    q, k = q.detach(), k.detach()
                return WalkedAttention.apply(q, k, v, asked.bias(), asked.scale, self.walk)
        return func(*args, **(kwargs or {}))


def relevance(
    recording: RecordedPass,
    target: Target = None,
    similar_to: Likened = None,
    balanced: bool = True,
    start_layer: int = 0,
    budget: int = MEMORY_BUDGET,
) -> Relevance:
    """The rows of R = (I + A_L) ... (I + A_start) of the tokens that the score is read from.

    target, similar_to: as for score_of(); balanced: with balanced gradients, else with the model's own, as Chefer et
    al. Raises QueryError for an unknown class, patch or layer, a pooling without known weights, and where the pass
    would keep more than `budget` bytes; UnsupportedModelError for an operation without a balanced gradient.
    """
    if not 0 <= start_layer < recording.depth:
        raise QueryError(f"start_layer must be 0 to {recording.depth - 1}, not {start_layer}.")
    mode = WalkMode(len(recording.tokens), balanced)
    with open_trace(recording, score_of(recording, target, similar_to), balanced, budget, attend=mode) as trace:
        mode.walk.rows = [weights_of_readers(trace)]
        known = trace.watch.stream.last is not None
        first = trace.stream[0] if known else trace.pixels
        (gradient,) = trace.gradients([first])
        completeness = trace.completeness(first, gradient) if balanced and known else None
    tokens = mode.walk.rows[recording.depth - start_layer]
    return Relevance(on_patches(recording, tokens), tokens, completeness)
