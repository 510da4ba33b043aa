"""Fixtures that every test may use: the shared data (skipped with the reason where absent), small random models."""

from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED_DATA = REPOSITORY.parent / "shared" / "data"

torch.set_num_threads(1)  # tiny models: a second thread costs more than it gives, many times more on a busy machine


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real weights, photos and masks; tests that need it skip where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the folder ../shared/data with real weights and photos is absent")
    return SHARED_DATA
