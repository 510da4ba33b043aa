"""LeGrad (Bousselham et al., ICCV 2025): how sensitive the score of every layer's tokens is to that layer's attention.

M[t] = mean over layers l, heads and queries i of (dS_l / dA_l[i, t])+, where S_l is the score of the tokens as they
leave layer l: what the last norm, the pooling and the classifier make of them. The paper scales the map to 0..1.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from explorer.attention.recorded import RecordedPass
from explorer.attention.scores import Likened, Score, Target, on_patches, score_of
from explorer.attention.trace import Attended, Trace, open_trace
from explorer.errors import QueryError

BLOCK = 256  # query rows whose gradient is held at a time


def compute(
    recording: RecordedPass,
    target: Target = None,
    similar_to: Likened = None,
    start_layer: int = 0,
) -> Float[np.ndarray, "row col"]:
    """float32, 0 or more.

    target, similar_to: as for score_of(); start_layer: the first layer that counts. Raises QueryError for a layer that
    the model doesn't have, or where its layers don't add to one residual stream.
    """
    if not 0 <= start_layer < recording.depth:
        raise QueryError(f"start_layer must be 0 to {recording.depth - 1}, not {start_layer}.")
    score = score_of(recording, target, similar_to)
    total = torch.zeros(len(recording.tokens))
    with open_trace(recording, score, balanced=False) as trace:
        for layer in range(start_layer, recording.depth):
            total += sensitivity(trace, score, layer).cpu()
    return on_patches(recording, total / (recording.depth - start_layer))


def sensitivity(trace: Trace, score: Score, layer: int) -> Float[Tensor, " token"]:
    """Mean over heads and queries of the positive gradient of the layer's score for its attention."""
    leaving, attended = trace.stream[layer + 1], trace.watch.attention[layer]
    x = leaving.detach().requires_grad_()
    tokens, logits = trace.watch.tail.run(trace.stream[-1], x, trace.tokens, trace.logits)
    (gradient,) = torch.autograd.grad(score(tokens, logits), x)
    (out_gradient,) = torch.autograd.grad(leaving, attended.out, gradient, retain_graph=True)
    return positive_gradient(attended, out_gradient[0])


def positive_gradient(attended: Attended, gradient: Float[Tensor, "head query dim"]) -> Float[Tensor, " token"]:
    """Of the gradient of an attention's result: mean over heads and queries of (gradient v^T)+."""
    heads, queries, _ = gradient.shape
    total = gradient.new_zeros(attended.v.shape[1])
    for block in gradient.split(BLOCK, dim=1):
        if block.any():
            total += (block @ attended.v.mT).clamp_min(0).sum(dim=(0, 1))
    return (total / (heads * queries)).float()
