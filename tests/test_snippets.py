"""Every Python snippet of the docs runs as it stands: one page after the other, each from top to bottom."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from explorer import paths
from explorer.data.samples import sample_photo
from explorer.models import registry
from explorer.rendering.video import mp4
from tests.conftest import REPOSITORY
from tests.test_docs import DOCS
from tests.zips import pictures, write_zip

LEFT_OUT = {"docs/models.md": "downloads several models"}
CLASSES = {"ants": 4, "bees": 4}


def snippets(page: Path) -> Iterator[tuple[int, str]]:
    """Every Python block of a page with the line that it begins at."""
    text = page.read_text()
    for block in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        yield text.count("\n", 0, block.start(1)), block[1]


PAGES = {str(path.relative_to(REPOSITORY)): path for path in DOCS if any(snippets(path))}


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all files that the pages name; its models are the bundled one under other names."""
    folder = tmp_path_factory.mktemp("snippets")
    photos = [sample_photo(name).resize((320, 240)) for name in ("cat", "astronaut")]
    for name, photo in zip(("photo.jpg", "other.jpg"), photos, strict=True):
        photo.save(folder / name)
    rows, cols = np.mgrid[:240, :320]
    disc = (rows - 120) ** 2 + (cols - 160) ** 2 < 80**2
    Image.fromarray(disc.astype(np.uint8) * 255).save(folder / "mask.png")
    (folder / "clip.mp4").write_bytes(mp4([photo.resize((96, 64)) for photo in photos], 8))
    for name in ("photos.zip", "pets.zip"):
        write_zip(folder / name, pictures(CLASSES))
    (folder / "checkpoints").mkdir()
    bundled = paths.checkpoints() / registry.BUNDLED
    for name in ("bundled", "pets", "mine", "mine/epochs/001", "mine/epochs/002"):
        (folder / "checkpoints" / name).mkdir(parents=True)
        for file in bundled.iterdir():
            (folder / "checkpoints" / name / file.name).symlink_to(file.resolve())
    return folder


def test_what_is_left_out_is_a_page_with_snippets():
    assert set(LEFT_OUT) < set(PAGES)


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted(PAGES.keys() - LEFT_OUT))
def test_the_snippets_of_a_page_run(page: str, material: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(material)
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(material / "checkpoints"))
    names: dict[str, object] = {"__name__": "snippet"}
    for line, code in snippets(PAGES[page]):
        exec(compile("\n" * line + code, page, "exec"), names)
