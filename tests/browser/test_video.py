"""The Video page on the real server: a clip goes in, a film that this browser plays comes out."""

import re

from playwright.sync_api import Page, expect

from explorer.data.video import read_clip
from explorer.rendering.video import mp4
from explorer.ui.video.view import PREVIEW
from tests.browser.conftest import TINY, settled_box
from tests.tiny import photo

LINK = f"/video?model=checkpoints%2F{TINY}&photo=cat"


def look(page: Page) -> None:
    page.get_by_role("button", name=re.compile("Look at")).click()
    page.locator("video").wait_for()


def test_an_uploaded_clip_is_looked_at_and_plays(page, app, tmp_path):
    page.goto(app + LINK)
    clip = {"name": "clip.mp4", "mimeType": "video/mp4", "buffer": mp4([photo(seed=seed) for seed in range(5)], 8)}
    page.get_by_test_id("stMain").locator("input[type=file]").set_input_files(files=[clip])
    expect(page.get_by_role("button", name="Look at 5 frames")).to_be_visible()
    look(page)
    # The film has a size only once the browser could decode it.
    page.wait_for_function("document.querySelector('video').videoWidth === 136")
    with page.expect_download() as download:
        page.get_by_role("button", name="GIF").click()
    download.value.save_as(tmp_path / "film.gif")
    frames = read_clip(tmp_path / "film.gif", fps=60).frames
    assert len(frames) == 5 and frames[0].size == (136, 64)
    page.get_by_role("link", name="Home").first.click()
    page.get_by_role("heading", name="See where a Vision Transformer looks").wait_for()
    page.get_by_role("link", name="Video").first.click()
    page.locator("video").wait_for()
    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_text("Until you drop one in")).to_be_visible()
    expect(page.locator("video")).to_have_count(0)


def test_the_pan_is_small_on_a_phone_too(page, app):
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(app + LINK)
    frame = page.get_by_role("img", name="A pan over Cat")
    frame.wait_for()
    assert settled_box(frame)["width"] == PREVIEW


def test_without_a_clip_it_pans_over_the_photo(page, app):
    page.goto(app + LINK + "&fps=2")
    expect(page.get_by_text("Until you drop one in: a pan over Cat.")).to_be_visible()
    look(page)
    expect(page.get_by_text("4 frames in one colour scale")).to_be_visible()


def test_what_is_no_clip_gets_one_sentence(page, app):
    page.goto(app + LINK)
    file = {"name": "clip.mp4", "mimeType": "video/mp4", "buffer": b"nothing"}
    page.get_by_test_id("stMain").locator("input[type=file]").set_input_files(files=[file])
    expect(page.get_by_text("This isn't an MP4, WebM or GIF file")).to_be_visible()
