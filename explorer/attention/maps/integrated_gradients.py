"""Integrated gradients (Sundararajan et al. 2017): each pixel's part in the way from an empty picture to this one.

M[patch] = sum over its pixels and colours of (x - b) * the mean of dS/dx over the straight line from b to x, taken at
the points of a Gauss-Legendre rule. The sum of the map is S(x) - S(b). The map is signed.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from explorer.attention.balanced import Completeness
from explorer.attention.limits import MEMORY_BUDGET, check_memory, kept_bytes
from explorer.attention.maps.kind import Progress
from explorer.attention.recorded import RecordedPass
from explorer.attention.scores import Likened, Score, Target, score_of
from explorer.errors import QueryError

Baseline = Literal["grey", "black", "mean"]
BATCH = 8  # pictures at a time, fewer where they would keep too much
TOLERANCE = 0.05  # of the score: how far the rule may be from the integral


@dataclass(frozen=True)
class Integral:
    """A map and how well it adds up to the score less that of the baseline, which stands in for the biases."""

    heatmap: Float[np.ndarray, "row col"]  # float32, signed
    completeness: Completeness

    @property
    def note(self) -> str:
        note = self.completeness.note("The map and the empty picture's score", TOLERANCE)
        return note and f"{note} More steps come closer."


def integral(
    recording: RecordedPass,
    target: Target = None,
    similar_to: Likened = None,
    steps: int = 32,
    baseline: Baseline = "grey",
    progress: Progress | None = None,
) -> Integral:
    """The map and how closely it adds up.

    target, similar_to: as for score_of(); steps: points on the line, 2 to 512; baseline: "grey" is the mean of the
    model's training photos, which it sees as 0, "black", or the photo's own "mean" colour; progress: called with the
    points done and in all.
    """
    if not 2 <= steps <= 512:
        raise QueryError(f"steps must be 2 to 512, not {steps}.")
    check_memory(recording)
    score = score_of(recording, target, similar_to)
    model = recording.model
    with torch.inference_mode(False), torch.enable_grad():
        pixels = model.pixels(recording.image)
        start = baseline_pixels(recording, pixels, baseline)
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        total = torch.zeros_like(pixels)
        for some in np.array_split(np.arange(steps), -(-steps // _batch(recording))):
            share, weight = (
                torch.from_numpy(line[some]).to(pixels)[:, None, None, None] / 2 for line in (nodes, weights)
            )
            points = (start + (share + 0.5) * (pixels - start)).requires_grad_()
            total += (weight * _gradients(recording, score, points)).sum(dim=0, keepdim=True)
            if progress:
                progress(int(some[-1]) + 1, steps)
        parts = (pixels - start) * total
        ends = [float(score(*model.forward(picture)).detach()) for picture in (pixels, start)]
    rows, cols = recording.grid
    patches = parts[0].sum(dim=0).reshape(rows, model.patch_size, cols, model.patch_size).sum(dim=(1, 3))
    completeness = Completeness(ends[0], float(patches.sum()), ends[1])
    return Integral(patches.float().cpu().numpy(), completeness)


def baseline_pixels(
    recording: RecordedPass, pixels: Float[Tensor, "1 3 height width"], baseline: Baseline
) -> Float[Tensor, "1 3 height width"]:
    """The empty picture, as the model takes it."""
    if baseline == "grey":
        return torch.zeros_like(pixels)
    if baseline == "mean":
        return pixels.mean(dim=(2, 3), keepdim=True).expand_as(pixels)
    if baseline == "black":
        mean, std = (
            torch.tensor(numbers).to(pixels)[:, None, None] for numbers in (recording.model.mean, recording.model.std)
        )
        return (-mean / std).expand_as(pixels)
    raise QueryError(f"baseline must be grey, black or mean, not {baseline!r}.")


def _batch(recording: RecordedPass) -> int:
    return max(1, min(BATCH, MEMORY_BUDGET // kept_bytes(recording.model, len(recording.tokens))))


def _gradients(recording: RecordedPass, score: Score, points: Tensor) -> Tensor:
    """Of the score of each picture, for its pixels: both "picture 3 height width"."""
    tokens, logits = recording.model.forward(points)
    scores = [score(tokens[i : i + 1], None if logits is None else logits[i : i + 1]) for i in range(len(points))]
    return torch.autograd.grad(torch.stack(scores).sum(), points)[0]
