"""The Compare page on the real server: two live pictures that follow each other, and numbers of the library."""

import numpy as np
import pytest
import torch
from playwright.sync_api import Page, expect

import explorer
from explorer.data.samples import sample_photo
from tests.browser.conftest import TINY, drawn_weights, settled_box
from tests.tiny import save_tiny


@pytest.fixture(scope="module")
def coarse(app_folder):
    """A second model in the server's checkpoints, with patches twice as large: 4 x 4 where the first has 8 x 8."""
    torch.manual_seed(1)
    return explorer.load_model(save_tiny(app_folder / "checkpoints" / "coarse", seed=1, patch_size=16), device="cpu")


def open_page(page: Page, app: str) -> None:
    page.goto(f"{app}/compare?model=checkpoints%2F{TINY}&photo=cat&with=coarse&layer=2")
    for side in (0, 1):
        page.locator(f'[data-side="{side}"] .live[data-layer]').wait_for()


def shown(page: Page, side: int) -> np.ndarray:
    return drawn_weights(page.locator(f'[data-side="{side}"] .live'))


def test_the_mouse_over_one_asks_the_same_place_of_the_other(page, app, tiny, coarse):
    open_page(page, app)
    headings = page.locator("[data-heading]")
    expect(headings).to_have_text([f"{TINY}, layer 2, 8 × 8 patches", "coarse, layer 1, 4 × 4 patches"])
    first, second = (explorer.record(model, sample_photo("cat"), fit="crop") for model in (tiny, coarse))
    np.testing.assert_allclose(shown(page, 0), first.attention(2, "mean", "cls").ravel(), atol=1e-5)
    np.testing.assert_allclose(shown(page, 1), second.attention(1, "mean", "cls").ravel(), atol=1e-5)

    box = settled_box(page.locator('[data-side="0"] [data-part=picture]'))
    page.mouse.move(box["x"] + 5.5 / 8 * box["width"], box["y"] + 2.5 / 8 * box["height"])
    page.locator('[data-side="1"] .live[data-query="1,2"]').wait_for()
    np.testing.assert_allclose(shown(page, 0), first.attention(2, "mean", (2, 5)).ravel(), atol=1e-5)
    np.testing.assert_allclose(shown(page, 1), second.attention(1, "mean", (1, 2)).ravel(), atol=1e-5)


def test_a_click_is_kept_in_the_address_and_in_the_numbers(page, app, coarse):
    open_page(page, app)
    box = settled_box(page.locator('[data-side="1"] [data-part=picture]'))
    page.mouse.click(box["x"] + 3.5 / 4 * box["width"], box["y"] + 0.5 / 4 * box["height"])
    page.wait_for_url("**query=1%2C7**")  # the first's patch under the middle of the second's (0, 3)
    expect(page.get_by_text("Jensen-Shannon divergence from patch (1, 7).")).to_be_visible()
    expect(page.get_by_text("Neither model comes from the other")).to_be_visible()


def test_on_a_phone_one_picture_lies_below_the_other(new_window, app, coarse):
    page = new_window(viewport={"width": 420, "height": 900})
    open_page(page, app)
    first, second = (page.locator(f'[data-side="{side}"]').bounding_box() for side in (0, 1))
    assert first and second and second["y"] > first["y"] + first["height"]
    assert first["width"] == second["width"] > 300
