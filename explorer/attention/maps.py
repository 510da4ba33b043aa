"""Attention from stored q and k: pattern = softmax(q k^T * scale + bias), for the rows that are asked for."""

from typing import Literal

import torch
from torch import Tensor

from explorer.errors import QueryError

Fusion = Literal["mean", "max", "min"]


def scores(q: Tensor, k: Tensor, scale: float, bias: Tensor | None = None) -> Tensor:
    """q "head query dim", k "head key dim" -> q k^T * scale + bias, "head query key"."""
    raw = (q @ k.transpose(-2, -1)) * scale
    return raw if bias is None else raw + bias


def pattern(q: Tensor, k: Tensor, scale: float, bias: Tensor | None = None) -> Tensor:
    """q "head query dim", k "head key dim" -> softmax over keys, "head query key"; every row sums to 1."""
    return scores(q, k, scale, bias).softmax(dim=-1)


def fuse(heads: Tensor, fusion: str) -> Tensor:
    """ "head ..." -> "..." by the mean, maximum or minimum over heads."""
    if fusion == "mean":
        return heads.mean(dim=0)
    if fusion == "max":
        return heads.amax(dim=0)
    if fusion == "min":
        return heads.amin(dim=0)
    raise QueryError(f"Heads are fused by mean, max or min, not {fusion!r}.")


def mass_mask(weights: Tensor, mass: float) -> Tensor:
    """The smallest set of entries holding at least `mass` of the sum of weights, as a bool tensor of the same shape.

    DINO's visualisation keeps the same set (its --threshold): entries sorted, cumulated, the smallest ones left out.
    """
    if not 0 < mass <= 1:
        raise QueryError(f"The mass must lie above 0 and up to 1, not {mass}.")
    flat = weights.flatten().double()
    order = flat.argsort(descending=True, stable=True)
    cumulated = flat[order].cumsum(0)
    # Keep an entry when those before it don't hold the mass yet: the first entry is always kept.
    before = torch.cat([cumulated.new_zeros(1), cumulated[:-1]])
    keep = torch.zeros_like(flat, dtype=torch.bool)
    keep[order[before < mass * cumulated[-1]]] = True
    return keep.view(weights.shape)
