"""An exact account of one logit: what every head, patch, MLP, embedding and bias adds to it.

The residual stream after the last layer is a sum, x = embedding + sum over layers of (attention + MLP), and what
follows is affine once the last norm's mean and deviation, and the weights and gates of an attention pooling, are
taken at their actual values: logit = G . x + c with one gradient G (Elhage et al. 2021; Gandelsman et al. 2024). So
every summand of x has its share, G . summand; and within an attention, so has every head and every token that the
head reads: sum over queries r of A[r, t] (W v_t) . G_r. A share counts the direct path only: what a head changes in
later layers is in the shares of those.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from explorer.attention.recorded import RecordedPass
from explorer.attention.scores import Likened, Target, score_of
from explorer.attention.trace import Attended, Trace, open_trace
from explorer.errors import QueryError

TOLERANCE = 1e-4  # of 1 + |score|: the largest gap between the account and the score
BLOCK = 256  # query rows whose softmax is held at a time


@dataclass(frozen=True)
class Ledger:
    """The shares in a score, which add up to it; all arrays are float32."""

    score: float  # the model's own
    heads: Float[np.ndarray, "layer head token"]  # by the token that is read, prefix tokens first
    mlps: Float[np.ndarray, " layer"]
    embeddings: Float[np.ndarray, " token"]  # what enters layer 0; 0 for all that the classifier doesn't read
    biases: Float[np.ndarray, " layer+1"]  # of each attention, then of what follows: norm, pooling, classifier

    @property
    def total(self) -> float:
        """The sum of all shares."""
        parts = (self.heads, self.mlps, self.embeddings, self.biases)
        return float(sum(part.sum(dtype=np.float64) for part in parts))

    @property
    def error(self) -> float:
        """|total - score| / (1 + |score|)."""
        return abs(self.total - self.score) / (1 + abs(self.score))


def ledger(recording: RecordedPass, target: Target = None, similar_to: Likened = None) -> Ledger:
    """The account of a class's logit, of the difference of two, or of a likeness; target, similar_to as for score_of().

    Raises QueryError where the model's layers don't add to one residual stream or the shares don't add up to the
    score, UnsupportedModelError where what follows the last layer isn't affine.
    """
    with open_trace(recording, score_of(recording, target, similar_to)) as trace:
        return account_of(trace)


def account_of(trace: Trace) -> Ledger:
    """The ledger of an open trace with balanced gradients; more backward passes can follow. Errors as ledger()."""
    assert trace.balanced is not None
    (gradient,) = trace.gradients([trace.stream[-1]], keep=True)
    after = trace.balanced.biases(after=trace.stream[-1])
    layers = [_layer(trace, layer, gradient) for layer in range(trace.recording.depth)]
    embeddings = (trace.stream[0].detach() * gradient)[0].sum(dim=-1)
    score, name = float(trace.score.detach()), trace.recording.model_name
    account = Ledger(
        score=score,
        heads=torch.stack([heads for heads, _, _ in layers]).float().cpu().numpy(),
        mlps=np.array([mlp for _, mlp, _ in layers], np.float32),
        embeddings=embeddings.float().cpu().numpy(),
        biases=np.array([*(bias for _, _, bias in layers), after], np.float32),
    )
    if not account.error <= TOLERANCE:
        why = (
            f"in {str(trace.pixels.dtype).removeprefix('torch.')} sums are rounded too much for an account: load the "
            "model in float32"
            if torch.finfo(trace.pixels.dtype).bits < 32
            else "its layers do something else beside attention and MLPs, so there is no account"
        )
        raise QueryError(
            f"The shares that were found for {name} add up to {account.total:.5g}, not to the score of {score:.5g}: "
            f"{why}."
        )
    return account


def _layer(trace: Trace, layer: int, gradient: Tensor) -> tuple[Tensor, float, float]:
    """One layer's shares: of its heads "head token", its MLP and its attention's biases."""
    assert trace.balanced is not None
    branches = trace.branches(layer)
    out_gradient = head_gradient(trace, layer, gradient)
    bias = trace.balanced.biases()
    heads = head_shares(trace.watch.attention[layer], out_gradient)
    shares = [float((branch.detach() * gradient).sum()) for branch in branches]
    if len(shares) == 1:  # attention and MLP side by side, in one branch
        return heads, shares[0] - float(heads.sum()) - bias, bias
    return heads, sum(shares[1:]), bias


def head_gradient(
    trace: Trace, layer: int, gradient: Float[Tensor, "1 token width"]
) -> Float[Tensor, "head query dim"]:
    """Of the last stream's gradient: what a layer's heads, softmax(q k^T) v, add to the score by the direct path."""
    out = trace.watch.attention[layer].out
    branch = trace.branches(layer)[0]
    return torch.autograd.grad(branch, out, gradient, retain_graph=True, materialize_grads=True)[0][0]


def head_shares(attended: Attended, gradient: Float[Tensor, "head query dim"]) -> Float[Tensor, "head token"]:
    """Of the gradient of an attention's result: each head's share by the token that is read, summed over queries."""
    v = attended.v
    total = v.new_zeros(v.shape[:2])
    indices = gradient.flatten(2).abs().amax(dim=(0, 2)).nonzero()[:, 0]
    for block in indices.split(BLOCK):
        pattern = attended.call.pattern(block).to(v.dtype)
        total += (pattern * (gradient[:, block] @ v.mT)).sum(dim=1)
    return total
