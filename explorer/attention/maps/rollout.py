"""Attention rollout (Abnar & Zuidema 2020) from one query, as a row vector pushed through the layers in blocks."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from explorer.attention import weights
from explorer.attention.queries import Query, query_title
from explorer.attention.recorded import RecordedPass
from explorer.attention.recorder import Call


def compute(
    recording: RecordedPass, query: Query | None, fusion: str, discard_ratio: float, start_layer: int
) -> Float[np.ndarray, "row col"]:
    """The patches of a query's row of the rollout, float32."""
    row = rollout(recording, recording.query_indices(query), fusion, discard_ratio, start_layer)
    return recording.on_patches(row).float().cpu().numpy()


def describe(recording: RecordedPass, query: Query | None, **others: object) -> str:
    """From which query."""
    return f"rollout from {query_title(query or recording.default_query)}"


def rollout(
    recording: RecordedPass,
    indices: list[int],
    fusion: str = "mean",
    discard_ratio: float = 0.0,
    start_layer: int = 0,
) -> Float[Tensor, " token"]:
    """The mean of the rows `indices` of R = A'_L ... A'_start, float32.

    A'_l = 0.5 A_l + 0.5 I with A_l fused over heads, each row divided by its own sum. Never holds R: starting from the
    last layer, a row vector r becomes r A'_l, and only rows with weight are computed. discard_ratio: that share of the
    entries of A_l, the lowest ones, becomes 0 before I is added, except on the diagonal and in the cls column; entries
    that tie with the first one kept are kept. A layer is then held as one matrix, 4 bytes x tokens^2, and a copy of it.
    start_layer: index of the first layer, no negatives.
    """
    r = recording.calls[0].k.new_zeros(len(recording.tokens), dtype=torch.float32)
    r[indices] = 1 / len(indices)
    cls = recording.prefix_tokens.index("cls") if "cls" in recording.prefix_tokens else None
    with weights.full_precision(r.device):
        for call in reversed(recording.calls[start_layer:]):
            r = _step(call, r, fusion, discard_ratio, cls)
    return r


def _step(
    call: Call, r: Float[Tensor, " token"], fusion: str, discard_ratio: float, cls: int | None
) -> Float[Tensor, " token"]:
    """The row r one layer further down: r A'."""
    kept = _discard(call, fusion, discard_ratio, cls) if discard_ratio else None
    out = torch.zeros_like(r)
    for block in r.nonzero()[:, 0].split(weights.BLOCK):
        rows = call.fused_rows(block, fusion) if kept is None else kept[block]
        weight = r[block] / (0.5 * rows.sum(dim=1) + 0.5)
        out += 0.5 * (weight @ rows)
        out[block] += 0.5 * weight
    return out


def _discard(call: Call, fusion: str, discard_ratio: float, cls: int | None) -> Tensor:
    """A "query key" with its lowest entries zeroed, never the diagonal nor the cls column."""
    tokens, device = call.k.shape[1], call.k.device
    matrix = torch.empty(tokens, tokens, device=device, dtype=torch.float32)
    for block in torch.arange(tokens, device=device).split(weights.BLOCK):
        matrix[block] = call.fused_rows(block, fusion)
    count = int(discard_ratio * tokens * tokens)
    if not count:
        return matrix
    # numpy's partition needs one copy; torch's kthvalue would also hold an int64 index of every entry.
    smallest_kept = float(np.partition(matrix.cpu().numpy(), count, axis=None)[count])
    drop = matrix < smallest_kept
    drop.fill_diagonal_(False)
    if cls is not None:
        drop[:, cls] = False
    return matrix.masked_fill_(drop, 0)
