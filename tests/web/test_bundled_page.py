"""docs/page, which the README's first picture opens: made by the code as it is, and its model is the bundled one."""

import re
import shutil
from typing import Any

import numpy as np
import onnxruntime
import pytest

import explorer
from benchmarks import bundled_page
from explorer.attention.recording import record
from explorer.data.samples import sample_photo
from explorer.web.site.page import INDEX
from tests.conftest import REPOSITORY

REMEDY = "run `python -m benchmarks.bundled_page`"


@pytest.fixture(scope="module")
def model() -> explorer.Model:
    return explorer.load_model("bundled", device="cpu")


def without_sample(html: str) -> str:
    """The page but for its sample photo, whose JPEG differs between versions of Pillow."""
    return re.sub(r"data:image/jpeg;base64,[^\"]*", "", html)


def test_the_page_is_what_the_code_makes_today(model):
    kept = (bundled_page.FOLDER / INDEX).read_text("utf-8")
    assert without_sample(bundled_page.make(model, bundled_page.exported())) == without_sample(kept), REMEDY


def test_what_the_page_reads_is_in_the_repository_and_what_it_adds_is_small():
    for address in (bundled_page.FILES.model, bundled_page.FILES.runtime, bundled_page.FILES.weights):
        path = (bundled_page.FOLDER / address).resolve()
        assert path.is_file() and path.is_relative_to(REPOSITORY)
    assert sum(path.stat().st_size for path in bundled_page.FOLDER.iterdir()) < 1_500_000
    assert "](docs/page/index.html)" in (REPOSITORY / "README.md").read_text()


def test_its_model_gives_the_bundled_models_logits_and_keys_from_the_checkpoints_file(model, tmp_path):
    shutil.copy(bundled_page.WEIGHTS, tmp_path)
    shutil.copy(bundled_page.FOLDER / bundled_page.FILES.model, tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / bundled_page.FILES.model)
    image = model.fit(sample_photo("cat"))
    made: Any = session.run(None, {"pixels": model.pixels(image).numpy()})
    recording = record(model, image, fit="keep")
    assert recording.logits is not None
    np.testing.assert_allclose(made[0][0], recording.logits, atol=1e-3)
    keys = np.stack([recording.k(layer).numpy() for layer in range(model.depth)])
    np.testing.assert_allclose(made[2], keys, atol=2e-3)
