"""Patches on the real server: they part, the one under the mouse is enlarged, a click is followed through all steps."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import TINY, settled_box
from tests.browser.test_home import wait_for_change
from tests.tiny import photo

LINK = f"/patches?model=checkpoints%2F{TINY}"


@pytest.fixture
def grid(page: Page, app: str) -> Locator:
    """The canvas with all patches, on an open page."""
    page.goto(app + LINK)
    expect(page.get_by_text("enter layer 0. From there on")).to_be_visible()
    canvas = page.locator("[data-part=all]")
    expect(page.locator("[data-part=readout]")).to_contain_text("patch (4, 4)")
    return canvas


def over(page: Page, canvas: Locator, row: int, col: int) -> None:
    box = settled_box(canvas)
    page.mouse.move(box["x"] + (col + 0.5) * box["width"] / 8, box["y"] + (row + 0.5) * box["height"] / 8)


def test_each_step_shows_its_shape(page: Page, grid: Locator):
    expect(page.locator("[class*=st-key-step_] .shape")).to_have_text(
        [
            "64 height×64 width×3 colours→64 patches×8 height×8 width×3 colours",
            "64 patches×192 pixel values→64 patches×64 numbers",
            "64 patches×64 numbers→67 tokens×64 numbers",
            "67 tokens×64 numbers",
        ]
    )


def test_pictures_say_in_words_what_they_show(page: Page, grid: Locator):
    images = page.get_by_test_id("stMain").get_by_test_id("stImage").locator("img")
    expect(images).to_have_count(8)
    for text in images.evaluate_all("(images) => images.map((image) => image.alt)"):
        assert len(text) > 25
    expect(page.locator("h1")).to_have_count(1)
    expect(page.locator("h2")).to_have_count(4)
    expect(page.locator("h3, h4")).to_have_count(0)


def test_the_patch_under_the_mouse_is_enlarged_at_once(page: Page, grid: Locator):
    one = page.locator("[data-part=one]")
    before = one.evaluate("(canvas) => canvas.toDataURL()")
    over(page, grid, 1, 6)
    expect(page.locator("[data-part=readout]")).to_have_text(
        "patch (1, 6)row 1 and column 6, counted from 0: pixels 8–15 down, 48–55 across"
        "8 × 8 pixels × 3 colours = 192 numbers"
    )
    assert one.evaluate("(canvas) => canvas.toDataURL()") != before
    assert one.evaluate("(canvas) => [canvas.width, canvas.height]") == [8, 8], "its own pixels, not the page's"
    page.mouse.move(5, 5)
    expect(page.locator("[data-part=readout]")).to_contain_text("patch (4, 4)")


def test_a_click_is_followed_through_the_steps_and_kept_in_the_link(page: Page, grid: Locator):
    over(page, grid, 2, 3)
    page.mouse.down()
    page.mouse.up()
    page.wait_for_url(re.compile(r"patch=2(%2C|,)3"))
    expect(page.get_by_text("The vector of patch (2, 3): 64 numbers")).to_be_visible()
    expect(page.get_by_text("How alike the position of patch (2, 3)")).to_be_visible()
    page.reload()
    expect(page.get_by_text("The vector of patch (2, 3): 64 numbers")).to_be_visible()
    expect(page.locator("[data-part=readout]")).to_contain_text("patch (2, 3)")


def test_arrow_keys_move_the_patch(page: Page, grid: Locator):
    grid.focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowRight")
    expect(page.locator("[data-part=readout]")).to_contain_text("patch (3, 5)")
    expect(page.get_by_text("The vector of patch (3, 5): 64 numbers")).to_be_visible()


def test_patches_part_by_themselves_and_under_the_slider(page: Page, grid: Locator):
    slider = page.locator("[data-part=gap]")
    expect(slider).to_have_value("0.3")
    apart = grid.evaluate("(canvas) => canvas.toDataURL()")
    slider.fill("0")
    wait_for_change(grid, apart)


def test_a_patch_outside_the_grid_gets_a_sentence_and_the_middle_is_shown(page: Page, app: str):
    page.goto(f"{app}{LINK}&patch=70,2")
    expect(
        page.get_by_role("alert").filter(has_text="patch “70,2”, which can't be used: it must be row,col of the 8 rows")
    ).to_be_visible()
    expect(page.get_by_text("The vector of patch (4, 4): 64 numbers")).to_be_visible()


def test_a_tall_photo_is_shown_whole_on_one_screen(page: Page, app: str, tmp_path):
    photo(200, 1000).save(tmp_path / "tall.png")
    page.goto(f"{app}{LINK}&fit=keep")
    page.get_by_test_id("stSidebar").locator("input[type=file]").set_input_files(tmp_path / "tall.png")
    expect(page.locator("[data-part=all]")).to_have_attribute("aria-label", re.compile("40 by 8 patches"))
    for pictured in (page.locator("[data-part=all]"), page.get_by_role("img", name=re.compile("How long every"))):
        assert settled_box(pictured)["height"] <= 740
    page.locator("[data-part=all]").click(position={"x": 1, "y": 700})
    expect(page.locator("[data-part=readout]")).to_contain_text("patch (38, 0)")
