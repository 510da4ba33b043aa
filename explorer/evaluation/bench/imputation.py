"""Noisy linear imputation (ROAD, Rong et al., ICML 2022): a removed pixel becomes the mean of its neighbours.

x = sum over its eight neighbours of w * x_neighbour, w = 1/6 beside it and 1/12 across, the weights of neighbours
outside the picture left out, plus noise; known pixels stay. The equations are solved by full multigrid (Briggs, Henson
and McCormick 2000) and not by a factorisation for each picture: from a grid of patches, each of which is known or
removed, to finer and finer ones.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

NOISE = 0.01  # standard deviation, in the model's normalised colours, as in the paper's code
SMOOTHINGS, DAMPING = 2, 0.8  # Jacobi steps before and after a coarser grid has helped
CYCLES = 2  # on the finest grid: leaves an error of less than 0.01 of the colours' deviation
COARSEST = 60  # steps of conjugate gradients on the grid of patches, at most
SOLVED = 1e-6  # of what the equations lacked at first: below it they count as solved there
AT_ONCE = 4  # pictures: more don't fit the processor's cache


@dataclass(frozen=True)
class Grid:
    """A grid: `cells` on a patch's side, which are missing (1, else 0), and each one's weight in its equation.

    On a coarse grid what is known begins nearer than a cell's length away, at the pixel beside the last missing one: a
    known neighbour counts `nearness` times.
    """

    cells: int
    nearness: float
    missing: Float[Tensor, "image 1 row col"]
    weight: Float[Tensor, "image 1 row col"]

    @property
    def size(self) -> tuple[int, int]:
        """(rows, cols) of cells."""
        return self.missing.shape[-2], self.missing.shape[-1]

    def left(
        self, x: Float[Tensor, "image channel row col"], right: Float[Tensor, "image channel row col"]
    ) -> Float[Tensor, "image channel row col"]:
        """The residual of the equations: right - (weight * x - neighbours(x)), where cells are missing."""
        return (right - self.weight * x + neighbours(x)) * self.missing


def impute(
    pixels: Float[Tensor, "1 channel height width"],
    gone: Bool[Tensor, "image row col"],
    generator: torch.Generator | None = None,
    noise: float = NOISE,
) -> Float[Tensor, "image channel height width"]:
    """Pictures in which the patches that are gone are filled from what is around them; a picture must keep one.

    The noise is the same in all pictures, so that they differ by what is gone alone.
    """
    filled = torch.cat([_solve(pixels, some) for some in gone.split(AT_ONCE)])
    if noise:
        side = pixels.shape[-1] // gone.shape[2]
        missing = _enlarged(gone, side, pixels.dtype)
        drawn = torch.randn(pixels.shape, generator=generator, dtype=pixels.dtype).to(pixels.device)
        filled += noise * missing * drawn
    return filled


def _solve(pixels: Tensor, gone: Bool[Tensor, "image row col"]) -> Tensor:
    side = pixels.shape[-1] // gone.shape[2]
    cells = [side, *(2**k for k in reversed(range(10)) if 2**k < side)]
    grids = [_grid(gone, each, side, pixels.dtype) for each in cells]
    x = pixels.new_zeros(1, 1, 1, 1)
    for place in reversed(range(len(grids))):
        grid = grids[place]
        size = grid.size
        known = F.adaptive_avg_pool2d(pixels, size) * (1 - grid.missing)
        x = F.interpolate(x, size, mode="bilinear") * grid.missing
        for _ in range(CYCLES if place == 0 else 1):
            x = _cycle(x, grid.nearness * neighbours(known), grids[place:])
        x = x + known
    return x


def _grid(gone: Bool[Tensor, "image row col"], cells: int, side: int, dtype: torch.dtype) -> Grid:
    missing = _enlarged(gone, cells, dtype)
    nearness = 2 * side / (side + cells)
    weight = neighbours(torch.ones_like(missing)) + (nearness - 1) * neighbours(1 - missing)
    return Grid(cells, nearness, missing, weight)


def _enlarged(gone: Bool[Tensor, "image row col"], cells: int, dtype: torch.dtype) -> Tensor:
    return gone.repeat_interleave(cells, 1).repeat_interleave(cells, 2)[:, None].to(dtype)


def _cycle(x: Tensor, right: Tensor, grids: list[Grid]) -> Tensor:
    """One V-cycle: smooth, have the coarser grids correct what is smooth by now, smooth again."""
    grid, *coarser = grids
    if not coarser:
        return _conjugate_gradients(x, right, grid)
    for _ in range(SMOOTHINGS):
        x = x + DAMPING * grid.left(x, right) / grid.weight
    size = coarser[0].size
    scale = (grid.cells / coarser[0].cells) ** 2  # the equations are those of a second derivative
    pooled = scale * F.adaptive_avg_pool2d(grid.left(x, right), size)
    correction = _cycle(torch.zeros_like(pooled), pooled, coarser)
    x = x + F.interpolate(correction, grid.size, mode="bilinear") * grid.missing
    for _ in range(SMOOTHINGS):
        x = x + DAMPING * grid.left(x, right) / grid.weight
    return x


def _conjugate_gradients(x: Tensor, right: Tensor, grid: Grid) -> Tensor:
    residual = grid.left(x, right)
    x = x.expand_as(residual)
    direction, size = residual, residual.square().sum((2, 3), keepdim=True)
    enough = SOLVED**2 * size
    for _ in range(COARSEST):
        if (size <= enough).all():
            break
        image = -grid.left(direction, torch.zeros_like(direction))
        length = size / (direction * image).sum((2, 3), keepdim=True).clamp_min(1e-30)
        x, residual = x + length * direction, residual - length * image
        size, before = residual.square().sum((2, 3), keepdim=True), size
        direction = residual + size / before.clamp_min(1e-30) * direction
    return x


def neighbours(x: Float[Tensor, "image channel height width"]) -> Float[Tensor, "image channel height width"]:
    """The weighted sum of each cell's eight neighbours; those outside count as 0."""
    across = F.pad(x, (1, 1))
    across = across[..., :-2] + 2 * x + across[..., 2:]
    down = F.pad(across, (0, 0, 1, 1))
    return (down[..., :-2, :] + 2 * across + down[..., 2:, :] - 4 * x) / 12
