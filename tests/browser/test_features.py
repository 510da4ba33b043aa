"""The Features page on the real server: colours of both photos, and likeness to a clicked patch."""

import numpy as np
import pytest
from playwright.sync_api import expect

import explorer
from explorer.attention.features import similarity
from explorer.data.samples import sample_photo
from tests.browser.conftest import TINY, settled_box

LINK = f"/features?model=checkpoints%2F{TINY}&photo=cat&second=Coffee&patch=2%2C5"


def test_likeness_to_the_patch_of_the_address_and_to_a_clicked_one(page, app, tiny):
    page.goto(app + LINK)
    first, second = (explorer.record(tiny, sample_photo(name)) for name in ("cat", "coffee"))
    said = similarity(first, (2, 5), second)
    row, col = np.unravel_index(int(said.argmax()), said.shape)
    sentence = f"Most alike here: patch ({row}, {col}) with a cosine of {said.max():.3f}."
    expect(page.get_by_text(sentence)).to_be_visible()

    picture = page.get_by_role("application", name="Likeness to patch (2, 5) of this photo")
    box = settled_box(picture)
    page.mouse.click(box["x"] + 1.5 / 8 * box["width"], box["y"] + 6.5 / 8 * box["height"])
    page.wait_for_url("**patch=6%2C1**")
    said = similarity(first, (6, 1), second)
    expect(page.get_by_text(f"with a cosine of {said.max():.3f}.")).to_be_visible()
    page.get_by_role("application", name="of this photo").press("ArrowUp")
    page.wait_for_url("**patch=5%2C1**")


@pytest.mark.parametrize("width", [1400, 1024, 390])
def test_no_void_around_the_pictures(new_window, app, width):
    page = new_window(viewport={"width": width, "height": 900})
    page.goto(app + LINK)
    frame = settled_box(page.get_by_role("application", name="of this photo"))
    assert frame["height"] == pytest.approx(frame["width"], abs=1), "as high as the square photo is, at any width"
    assert frame["width"] > 0.3 * (width - 300)


def test_colours_can_be_shared_and_shown_without_a_background(page, app):
    page.goto(app + LINK)
    expect(page.get_by_text("What is foreground is a guess by the first component")).to_be_visible()
    page.get_by_text("Foreground only").click()
    expect(page.get_by_text("The first three principal components of all patches.")).to_be_visible()
    page.get_by_text("One set of colours for both photos").click()
    page.wait_for_url("**together=false**")
    expect(page.get_by_test_id("stException")).to_have_count(0)
