"""The arguments of torch's scaled_dot_product_attention, unpacked once for everything that intercepts it."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from explorer.errors import RecordingError


class Arguments(NamedTuple):
    """One call, by the names of the paper: q, k and v "image head token dim", where groups of heads may share one."""

    q: Tensor
    k: Tensor
    v: Tensor
    mask: Tensor | None
    is_causal: bool
    scale: float  # what q k^T is multiplied with

    def is_over(self, tokens: int) -> bool:
        """Whether this is the self-attention of one image over that many tokens."""
        q, k = self.q.shape, self.k.shape
        return len(q) == len(k) == 4 and q[0] == k[0] == 1 and q[2] == k[2] == tokens

    @property
    def shape(self) -> tuple[int, ...]:
        """(images, heads, queries, keys)."""
        return *self.q.shape[:-1], self.k.shape[-2]

    def each_head(self) -> tuple[Tensor, Tensor, Tensor]:
        """q, k and v with one of each for every head, also where groups of heads share them."""
        counts = self.q.shape[1], self.k.shape[1], self.v.shape[1]
        if counts[0] == counts[1] == counts[2]:
            return self.q, self.k, self.v
        q, k, v = (t.repeat_interleave(max(counts) // t.shape[1], 1) for t in (self.q, self.k, self.v))
        return q, k, v

    def bias(self) -> Float[Tensor, "head query key"] | None:
        """What the mask adds to the scores before softmax; see additive()."""
        return additive(self.mask, self.q.dtype)


def arguments(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    **others: object,  # enable_gqa: the numbers of heads tell
) -> Arguments:
    """The arguments of scaled_dot_product_attention, given by position or by name as it takes them."""
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else float(scale)
    return Arguments(query, key, value, attn_mask, is_causal, factor)


def additive(mask: Shaped[Tensor, "..."] | None, dtype: torch.dtype) -> Float[Tensor, "head query key"] | None:
    """The mask of a call as a bias to add before softmax; None where it leaves all scores alone.

    The head and query axes are 1 where all share it. Raises RecordingError where it hides all tokens from one.
    """
    if mask is None:
        return None
    bias = mask.detach()
    while bias.ndim < 4:
        bias = bias[None]
    bias = bias[0]
    for axis in (0, 1):
        if bias.stride(axis) == 0:  # expanded: the same numbers for all
            bias = bias.narrow(axis, 0, 1)
    if bias.dtype == torch.bool:
        if bias.all():
            return None
        bias = torch.zeros_like(bias, dtype=dtype).masked_fill(~bias, -math.inf)
    if bias.isneginf().all(dim=-1).any():
        raise RecordingError(
            "This model's attention mask hides all tokens from some: there's no map of where they look."
        )
    return bias
