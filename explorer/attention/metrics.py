"""Numbers that describe a head: how wide it looks, how far, and how much of it goes to prefix tokens."""

import numpy as np
import torch
from jaxtyping import Float

from explorer.attention import weights
from explorer.attention.queries import Query
from explorer.attention.recorded import RecordedPass

TINY = torch.finfo(torch.float32).tiny


def head_entropy(recording: RecordedPass, layer: int, query: Query | None = None) -> Float[np.ndarray, " head"]:
    """Entropy of a query's softmax row over all tokens, -sum p log p in nats; exp of it: tokens looked at.

    0 where a head looks at one token, log(tokens) where it looks at all alike.
    """
    rows = recording.rows(layer, query).astype(np.float64)
    return -(rows * np.log(np.maximum(rows, 1e-300))).sum(axis=1)


def prefix_share(recording: RecordedPass, layer: int, query: Query | None = None) -> Float[np.ndarray, " head"]:
    """Share of a query's attention that goes to the prefix tokens (cls, registers); the rest is on patches."""
    return recording.rows(layer, query)[:, : len(recording.prefix_tokens)].sum(axis=1)


def mean_attention_distance(recording: RecordedPass, layer: int) -> Float[np.ndarray, " head"]:
    """Mean distance in pixels from a patch to where it looks (Dosovitskiy et al. 2021).

    The mean over patch queries of sum_j p_ij |centre_i - centre_j|, with each row's share on patches scaled to 1; a row
    that is on prefix tokens alone counts with 0.
    """
    call, prefix = recording.call(layer), len(recording.prefix_tokens)
    centres = patch_centres(recording.grid, recording.patch_size).to(call.k.device)
    total = call.k.new_zeros(call.k.shape[0], dtype=torch.float32)
    for patches in torch.arange(len(centres), device=call.k.device).split(weights.BLOCK):
        distances = torch.cdist(centres[patches], centres)
        for head, rows in enumerate(call.each_head(prefix + patches)):
            on_patches = rows[:, prefix:]
            total[head] += ((on_patches * distances).sum(dim=1) / on_patches.sum(dim=1).clamp_min(TINY)).sum()
    return (total / len(centres)).cpu().numpy()


def patch_centres(grid: tuple[int, int], patch_size: int) -> Float[torch.Tensor, "patch 2"]:
    """The middle (row, col) of every patch in pixels, row by row."""
    rows, cols = (torch.arange(count, dtype=torch.float32).add(0.5) * patch_size for count in grid)
    return torch.cartesian_prod(rows, cols)
