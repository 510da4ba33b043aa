"""Attention from stored q and k: pattern = softmax(q k^T * scale + bias), for the rows that are asked for."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor

from explorer.attention.queries import FUSIONS
from explorer.errors import QueryError

Queries = Float[Tensor, "head query dim"]
Keys = Float[Tensor, "head key dim"]
Bias = Float[Tensor, "#head #query #key"]  # what is added before softmax; an axis is 1 where all share it

BLOCK = 128  # query rows whose softmax is held at a time; at 3,601 tokens one head's block fits a core's cache


def full_precision(device: torch.device) -> AbstractContextManager:
    """A context in which products stay in float32, also where the caller has switched autocast on for the model."""
    on = torch.is_autocast_enabled(device.type)
    return torch.autocast(device.type, enabled=False) if on else nullcontext()


def scores(q: Queries, k: Keys, scale: float, bias: Bias | None = None) -> Float[Tensor, "head query key"]:
    """q k^T * scale + bias."""
    with full_precision(q.device):
        raw = torch.bmm(q * scale, k.mT)
    return raw if bias is None else raw + bias


def pattern(q: Queries, k: Keys, scale: float, bias: Bias | None = None) -> Float[Tensor, "head query key"]:
    """softmax(q k^T * scale + bias) over keys; every row sums to 1."""
    return scores(q, k, scale, bias).softmax(dim=-1)


def each_head(
    q: Queries, k: Keys, scale: float, bias: Bias | None = None, softmax: bool = True
) -> Iterator[Float[Tensor, "query key"]]:
    """The pattern (or, without softmax, the scores) of one head after the other, float32.

    All heads share one buffer, which the next head overwrites: use each before asking for the next.
    """
    buffer = torch.empty(q.shape[1], k.shape[1], device=q.device, dtype=torch.float32)
    for head in range(q.shape[0]):  # autocast leaves products with out= alone
        torch.mm(q[head].float() * scale, k[head].float().T, out=buffer)
        if bias is not None:
            buffer += bias[head if bias.shape[0] > 1 else 0]
        yield torch.softmax(buffer, dim=-1, out=buffer) if softmax else buffer


def check_fusion(fusion: str) -> None:
    """Raise QueryError for anything but mean, max and min."""
    if fusion not in FUSIONS:
        raise QueryError(f"Heads are fused by {', '.join(FUSIONS)}, not {fusion!r}.")


def fuse(heads: Float[Tensor, "head ..."], fusion: str) -> Float[Tensor, "..."]:
    """One map of all heads' by their mean, maximum or minimum over heads."""
    check_fusion(fusion)
    return heads.mean(dim=0) if fusion == "mean" else heads.amax(dim=0) if fusion == "max" else heads.amin(dim=0)


def fuse_each(heads: Iterator[Float[Tensor, "query key"]], count: int, fusion: str) -> Float[Tensor, "query key"]:
    """What fuse() gives, from `count` heads that come one after the other."""
    check_fusion(fusion)
    fused = next(heads).clone()
    for head in heads:
        if fusion == "mean":
            fused += head
        else:
            (torch.maximum if fusion == "max" else torch.minimum)(fused, head, out=fused)
    return fused.div_(count) if fusion == "mean" else fused
