"""What browser tests share: Debian's Chromium, and one real server of the app for the whole run."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from playwright.sync_api import Browser, FloatRect, Locator, Page, expect, sync_playwright
from timm.models import save_for_hf

import explorer
from tests.browser.server import FLAGS, KEEP_DRAWN, chromium_path, running_app

TINY = "tiny"  # checkpoints/tiny: 64 px, patch 8, 3 layers, 4 heads, 5 classes, cls and two registers
PATIENCE = 60_000  # ms that a test waits for the server to show something
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all browser tests; they skip where there is none."""
    path = chromium_path()
    if path is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def new_window(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a fresh window with the options given; an uncaught error of a page's own script fails the test."""
    errors: list[str] = []
    with ExitStack() as stack:

        def open_window(**options: Any) -> Page:
            options.setdefault("viewport", {"width": 1400, "height": 1000})
            context = browser.new_context(**options)
            stack.callback(context.close)
            context.set_default_timeout(PATIENCE)
            context.add_init_script(KEEP_DRAWN)
            tab = context.new_page()
            tab.on("pageerror", lambda error: errors.append(str(error)))
            return tab

        yield open_window
    assert not errors, errors


@pytest.fixture
def page(new_window: Callable[..., Page]) -> Page:
    """A fresh window of 1400 x 1000."""
    return new_window()


def settled_box(locator: Locator) -> FloatRect:
    """Where it lies in the window, scrolled into view, once nothing has moved it for a while."""
    locator.scroll_into_view_if_needed()
    box, still = locator.bounding_box(), 0
    end = time.monotonic() + PATIENCE / 1000
    while still < 3:
        assert time.monotonic() < end, "it keeps moving"
        locator.page.wait_for_timeout(100)
        before, box = box, locator.bounding_box()
        still = still + 1 if box == before else 0
    assert box, "it has left the page"
    return box


def drawn_weights(canvas: Locator) -> np.ndarray:
    """The weights that a live picture shows, float32, flat."""
    return np.array(canvas.evaluate("(root) => Array.from(root.drawn.weights)"), np.float32)


@pytest.fixture(scope="session")
def app_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints and runs of the test server, apart from the ones people made; a tiny random model lies there."""
    folder = tmp_path_factory.mktemp("app")
    (folder / "runs").mkdir()
    torch.manual_seed(0)
    settings: dict[str, Any] = {"img_size": 64, "patch_size": 8, "embed_dim": 64, "depth": 3, "num_heads": 4}
    settings |= {"num_classes": 5, "reg_tokens": 2}
    module = timm.create_model("vit_tiny_patch16_224", **settings)
    for name, weights in module.named_parameters():
        if "qkv.weight" in name:
            weights.data.mul_(8)  # sharp enough that the attention isn't flat
    save_for_hf(module, str(folder / "checkpoints" / TINY), model_args=settings)
    return folder


@pytest.fixture(scope="session")
def tiny(app_folder: Path) -> explorer.Model:
    """The tiny model of the test server, loaded here."""
    return explorer.load_model(str(app_folder / "checkpoints" / TINY), device="cpu")


@pytest.fixture(scope="session")
def app(browser: Browser, app_folder: Path) -> Iterator[str]:
    """The address of a real `streamlit run explorer/Home.py`, shared by all browser tests."""
    with running_app(app_folder) as server:
        yield server.url
