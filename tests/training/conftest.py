"""What several tests of training share; none of them changes it."""

from pathlib import Path

import pytest

from explorer.models.backbone import Model
from explorer.models.loading import load_model
from tests.training_help import make_base, make_dataset


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """Twelve pictures of each of three classes."""
    return make_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def base(tmp_path_factory) -> Path:
    """The folder of a small random model."""
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def model(base) -> Model:
    """That model."""
    return load_model(base, device="cpu")
