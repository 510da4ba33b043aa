"""Which tokens a score is read from, with what weight: where a walk from the score back to the patches starts.

The gradient of the score with respect to the final tokens tells. A token that it leaves out isn't read. Tokens with
one and the same gradient are read through their mean: one group. Where there are several groups (a cls and a
distillation token; a cls token joined to the patches' mean), each has the same weight. Where another attention pools
the tokens, its own weights count, as in any layer of the walk: the mean over heads of (gradient * A)+.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from explorer.attention.trace import Attended, Trace
from explorer.errors import QueryError

NOTHING, SAME = 1e-6, 1e-4  # of the largest gradient: what counts as 0, and what as no difference


def weights_of_readers(trace: Trace) -> Float[Tensor, " token"]:
    """What the score reads, float32. Another backward pass can follow.

    Raises QueryError where the score reads each token in its own way and no attention says how much.
    """
    if pool := read_pool(trace):
        read = pool_relevance(*pool)  # of all tokens, or of the patches, which come last
        return F.pad(read, (len(trace.recording.tokens) - len(read), 0))
    _, gradient = final_tokens(trace)
    weights = torch.zeros(len(gradient), device=gradient.device)
    groups = groups_of(gradient, at_most=len(trace.recording.prefix_tokens) + 1)
    if not groups:
        raise QueryError(
            f"{trace.recording.model_name} doesn't read its score from its tokens in a way that is known here, so "
            "relevance has nowhere to start: ask for gradient, attention or rollout."
        )
    for group in groups:
        weights[group] = 1 / (len(groups) * len(group))
    return weights


def read_pool(trace: Trace) -> tuple[Attended, Float[Tensor, "head query dim"]] | None:
    """The attention that pools the tokens on the way to the score, and the score's gradient with respect to it."""
    for pool in trace.watch.pooling:
        (gradient,) = trace.gradients([pool.out], keep=True)
        if gradient.any():
            return pool, gradient[0]
    return None


def final_tokens(trace: Trace) -> tuple[Float[Tensor, "..."], Float[Tensor, "token width"]]:
    """The last tensor of all tokens on the way to the score, and the score's gradient there, float32."""
    tokens = trace.tokens
    around = [tokens, *([] if tokens._base is None else [tokens._base])]
    last = trace.watch.stream.last
    for tensor in around if last is None else [*around, last]:
        (gradient,) = trace.gradients([tensor], keep=True)
        if gradient.any():
            return tensor, gradient.reshape(tokens.shape)[0].float()
    return tokens, torch.zeros_like(tokens[0])


def groups_of(gradient: Float[Tensor, "token width"], at_most: int) -> list[Int[Tensor, " index"]]:
    """The indices of tokens with one and the same gradient; none where there are more groups."""
    size = gradient.abs().amax(dim=1)
    left = (size > NOTHING * size.max()).nonzero()[:, 0]
    groups = []
    while len(left) and len(groups) <= at_most:
        same = (gradient[left] - gradient[left[0]]).abs().amax(dim=1) <= SAME * size[left[0]]
        groups.append(left[same])
        left = left[~same]
    return groups if len(groups) <= at_most else []


def pool_relevance(pool: Attended, gradient: Float[Tensor, "head query dim"]) -> Float[Tensor, " token"]:
    """Of the gradient of a pooling attention's result: mean over heads of (gradient * A)+, summed over queries."""
    pattern = pool.call.pattern(slice(None)).to(gradient.dtype)
    relevance = pattern * (gradient @ pool.v.mT)
    return relevance.clamp_min(0).mean(dim=0).sum(dim=0).float()
