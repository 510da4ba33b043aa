"""Inside on the real server: a clicked patch is followed through the steps, with the library's numbers."""

from playwright.sync_api import expect

import explorer
from explorer.data.samples import sample_photo
from explorer.words import percent
from tests.browser.conftest import TINY, settled_box

LINK = f"/inside?model=checkpoints%2F{TINY}&photo=cat&inside_layer=1&inside_head=2"


def test_a_clicked_patch_is_followed_through_the_steps(page, app, tiny):
    page.goto(app + LINK)
    recording = explorer.record(tiny, sample_photo("cat"))
    picture = page.get_by_role("application", name="Scores of head 2")
    box = settled_box(picture)
    page.mouse.click(box["x"] + 1.5 / 8 * box["width"], box["y"] + 6.5 / 8 * box["height"])
    page.wait_for_url("**query=6%2C1**")
    step = recording.step(1, (6, 1))
    best = f"{step.scores[2].max():+.2f}".replace("-", "−")
    expect(page.get_by_text(best).first).to_be_visible()
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_role("heading", name="Softmax")).to_be_visible()
    share = percent(float(step.pattern[2].max()))
    expect(page.locator(".js-plotly-plot .bartext", has_text=share).first).to_be_visible()
    page.get_by_role("button", name="Follow cls").click()
    page.wait_for_url("**query=cls**")
    share = percent(float(recording.step(1, "cls").pattern[2].max()))
    expect(page.locator(".js-plotly-plot .bartext", has_text=share).first).to_be_visible()
