"""Attention rollout (Abnar & Zuidema 2020) from one query, as a row vector pushed through the layers in blocks."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from explorer.attention import maps
from explorer.errors import QueryError

if TYPE_CHECKING:
    from explorer.attention.recording import Recording

BLOCK = 256  # query rows whose softmax is held at a time


def rollout(
    recording: "Recording",
    indices: list[int],
    fusion: str = "mean",
    discard_ratio: float = 0.0,
    start_layer: int = 0,
) -> Tensor:
    """The mean of the rows `indices` of R = A'_L ... A'_start, "token" float32.

    A'_l = 0.5 A_l + 0.5 I with A_l fused over heads, each row divided by its own sum. Never holds R: starting from the
    last layer, a row vector r becomes r A'_l, and only rows with weight are computed.
    """
    if not 0 <= discard_ratio < 1:
        raise QueryError(f"discard_ratio must lie from 0 up to, not at, 1; {discard_ratio} came.")
    if not 0 <= start_layer < recording.depth:
        raise QueryError(f"start_layer must be 0 to {recording.depth - 1}, not {start_layer}.")
    r = torch.zeros(recording.calls[0].k.shape[1], device=recording.calls[0].k.device)
    r[indices] = 1 / len(indices)
    cls = recording.prefix_tokens.index("cls") if "cls" in recording.prefix_tokens else None
    for layer in range(recording.depth - 1, start_layer - 1, -1):
        r = _step(recording, layer, r, fusion, discard_ratio, cls)
    return r


def _fused_rows(recording: "Recording", layer: int, block: Tensor, k: Tensor, fusion: str) -> Tensor:
    call = recording.calls[layer]
    bias = None if call.bias is None else call.bias[:, block].float()
    return maps.fuse(maps.pattern(call.q[:, block].float(), k, call.scale, bias), fusion)


def _step(recording: "Recording", layer: int, r: Tensor, fusion: str, discard_ratio: float, cls: int | None) -> Tensor:
    """ "token" -> r A'_layer."""
    k = recording.k(layer)
    threshold = _threshold(recording, layer, k, fusion, discard_ratio) if discard_ratio else None
    out = torch.zeros_like(r)
    for block in r.nonzero()[:, 0].split(BLOCK):
        rows = _fused_rows(recording, layer, block, k, fusion)
        if threshold is not None:
            rows = _discard(rows, block, threshold, cls)
        weight = r[block] / (0.5 * rows.sum(dim=1) + 0.5)
        out += 0.5 * (weight @ rows)
        out[block] += 0.5 * weight
    return out


def _threshold(recording: "Recording", layer: int, k: Tensor, fusion: str, discard_ratio: float) -> Tensor:
    """The largest of the lowest `discard_ratio` share of the entries of the whole fused matrix."""
    tokens = k.shape[1]
    blocks = torch.arange(tokens, device=k.device).split(BLOCK)
    entries = torch.cat([_fused_rows(recording, layer, block, k, fusion).flatten() for block in blocks])
    count = int(discard_ratio * entries.numel())
    return entries.kthvalue(count).values if count else entries.new_tensor(-1.0)


def _discard(rows: Tensor, block: Tensor, threshold: Tensor, cls: int | None) -> Tensor:
    """Zero entries up to the threshold, never the diagonal nor the cls column."""
    drop = rows <= threshold
    drop[torch.arange(len(block)), block] = False
    if cls is not None:
        drop[:, cls] = False
    return rows.masked_fill(drop, 0.0)
