"""Noisy linear imputation against its equations solved by a dense matrix, and against pytorch-grad-cam's own ROAD."""

import numpy as np
import pytest
import torch

from explorer.evaluation.bench.imputation import impute

WEIGHTS = {(down, across): 1 / (6 if 0 in (down, across) else 12) for down in (-1, 0, 1) for across in (-1, 0, 1)}
del WEIGHTS[0, 0]


def solved(picture: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """(rows, cols) float64: each missing pixel is the weighted mean of its neighbours inside the picture."""
    places = np.argwhere(missing)
    number = {tuple(place): index for index, place in enumerate(places)}
    matrix, right = np.zeros((len(places), len(places))), np.zeros(len(places))
    for index, (row, col) in enumerate(places):
        for (down, across), weight in WEIGHTS.items():
            place = row + down, col + across
            if not (0 <= place[0] < picture.shape[0] and 0 <= place[1] < picture.shape[1]):
                continue
            matrix[index, index] += weight
            if place in number:
                matrix[index, number[place]] -= weight
            else:
                right[index] += weight * picture[place]
    filled = picture.copy()
    filled[missing] = np.linalg.solve(matrix, right)
    return filled


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    """A smooth picture of 40 x 48 pixels with normalised colours."""
    noise = torch.randn(1, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(noise, (40, 48), mode="bicubic")


@pytest.fixture(scope="module")
def gone() -> np.ndarray:
    """Half, most and all but one of 5 x 6 patches."""
    order = np.random.default_rng(1).permutation(30)
    return np.stack([np.isin(np.arange(30), order[:count]).reshape(5, 6) for count in (15, 26, 29)])


def test_removed_patches_solve_the_equations(pixels, gone):
    found = impute(pixels, torch.from_numpy(gone), noise=0).numpy()
    large = np.kron(gone, np.ones((8, 8), bool))
    for picture, missing in zip(found, large, strict=True):
        for channel in range(3):
            expected = solved(pixels[0, channel].double().numpy(), missing)
            np.testing.assert_allclose(picture[channel], expected, atol=0.03)  # the colours' deviation is about 1
            np.testing.assert_array_equal(picture[channel][~missing], pixels[0, channel].numpy()[~missing])


def test_noise_is_seeded_and_on_what_was_removed_alone(pixels, gone):
    first, second = (impute(pixels, torch.from_numpy(gone), torch.Generator().manual_seed(3)) for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    noise = first - impute(pixels, torch.from_numpy(gone), noise=0)
    missing = torch.from_numpy(np.kron(gone, np.ones((8, 8), bool)))[:, None].expand_as(noise)
    assert not noise[~missing].any()
    assert float(noise[missing].std()) == pytest.approx(0.01, rel=0.05)


def test_imputation_equals_pytorch_grad_cams(pixels, gone):
    from pytorch_grad_cam.metrics.road import NoisyLinearImputer  # slow to import

    imputer = NoisyLinearImputer(noise=0)
    for missing, found in zip(gone, impute(pixels, torch.from_numpy(gone), noise=0), strict=True):
        kept = torch.from_numpy(1.0 - np.kron(missing, np.ones((8, 8))))
        np.testing.assert_allclose(found.numpy(), imputer(pixels[0], kept).numpy(), atol=0.03)
