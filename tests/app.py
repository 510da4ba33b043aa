"""The app under AppTest: the real Home.py with a tiny random model in a checkpoints folder of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import save_file
from streamlit.testing.v1 import AppTest

from explorer.models import registry
from tests.conftest import REPOSITORY
from tests.tiny import tiny_model

TINY = "checkpoints/tiny.safetensors"


def save_tiny(folder: Path, name: str = "tiny.safetensors", **settings) -> Path:
    """A weights file of a tiny ViT with 8-pixel patches, 64 pixels a side, three layers of one head."""
    path = folder / name
    save_file(tiny_model(**settings).module.state_dict(), path)
    return path


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A checkpoints folder with the tiny model, in place of the project's own."""
    save_tiny(tmp_path)
    monkeypatch.setattr(registry, "CHECKPOINTS", tmp_path)
    yield tmp_path


def open_app(page: str = "home", **address: str) -> AppTest:
    """The app at that page, run once, with the tiny model unless the address names another."""
    app = AppTest.from_file(str(REPOSITORY / "explorer" / "Home.py"), default_timeout=60)
    for key, value in {"model": TINY, **address}.items():
        app.query_params[key] = value
    app.run()
    if page != "home":
        app.switch_page(f"../pages/{page}.py").run()
    return app


def sentences(app: AppTest) -> list[str]:
    """All errors and warnings on the page, without the marks that keep Markdown away."""
    return [element.value.replace("\\", "") for element in (*app.error, *app.warning)]
