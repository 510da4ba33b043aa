"""Noisy linear imputation (ROAD, Rong et al., ICML 2022): a removed pixel becomes the mean of its neighbours.

x = sum over its eight neighbours of w * x_neighbour, w = 1/6 beside it and 1/12 across, the weights of neighbours
outside the picture left out, plus noise; known pixels stay. The equations are solved by cascadic multigrid (Bornemann
and Deuflhard 1996): exactly on the grid of patches, each of which is known or removed, then by a few steps of conjugate
gradients on finer and finer grids, so that a photo's hundred pictures take a second and not a minute.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

NOISE = 0.01  # standard deviation, in the model's normalised colours, as in the paper's code
STEPS = {1: 100, 2: 40, 4: 24, 8: 12}  # of conjugate gradients, where so many cells make a patch's side
LAST_STEPS = 6  # where a cell is a pixel


def impute(
    pixels: Float[Tensor, "1 channel height width"],
    gone: Bool[Tensor, "image row col"],
    generator: torch.Generator | None = None,
    noise: float = NOISE,
) -> Float[Tensor, "image channel height width"]:
    """Pictures in which the patches that are gone are filled from what is around them; a picture must keep one."""
    rows, cols = gone.shape[1:]
    side = pixels.shape[-1] // cols
    solution = pixels.new_zeros(len(gone), pixels.shape[1], rows, cols)
    for cells in [*(cells for cells in STEPS if cells < side), side]:
        size = (rows * cells, cols * cells)
        known = F.adaptive_avg_pool2d(pixels, size)
        missing = gone.repeat_interleave(cells, 1).repeat_interleave(cells, 2)[:, None].to(pixels.dtype)
        start = F.interpolate(solution, size, mode="bilinear", align_corners=False)
        solution = solved(known, missing, start, STEPS[cells] if cells < side else LAST_STEPS)
    if noise:
        drawn = torch.randn(solution.shape, generator=generator, dtype=pixels.dtype).to(pixels.device)
        solution = solution + noise * missing * drawn
    return solution


def solved(known: Tensor, missing: Tensor, start: Tensor, steps: int) -> Tensor:
    """Conjugate gradients from `start` for the cells that are missing (1, else 0); the others are as known."""
    share = neighbours(torch.ones_like(known[:1, :1]))
    x = start * missing
    residual = (neighbours(known * (1 - missing)) - share * x + neighbours(x)) * missing
    direction, size = residual, residual.square().sum((2, 3), keepdim=True)
    for _ in range(steps):
        image = (share * direction - neighbours(direction)) * missing
        length = size / (direction * image).sum((2, 3), keepdim=True).clamp_min(1e-30)
        x = x + length * direction
        residual = residual - length * image
        size, before = residual.square().sum((2, 3), keepdim=True), size
        direction = residual + size / before.clamp_min(1e-30) * direction
    return x + known * (1 - missing)


def neighbours(x: Float[Tensor, "image channel height width"]) -> Float[Tensor, "image channel height width"]:
    """The weighted sum of each cell's eight neighbours; those outside count as 0."""
    across = F.pad(x, (1, 1))
    across = across[..., :-2] + 2 * x + across[..., 2:]
    down = F.pad(across, (0, 0, 1, 1))
    return (down[..., :-2, :] + 2 * across + down[..., 2:, :] - 4 * x) / 12
