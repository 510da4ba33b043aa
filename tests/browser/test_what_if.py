"""Patches painted out on the What if tab: a click and a stroke reach the model, and the address."""

import re

import pytest
from playwright.sync_api import Page, expect

import explorer
from explorer.attention.interventions.edits import DropPatches
from explorer.data.samples import sample_photo
from tests.browser.conftest import TINY, settled_box

LINK = f"/attention?model=checkpoints%2F{TINY}&photo=cat&tab=What+if"


@pytest.fixture(scope="module")
def recording(tiny):
    return explorer.record(tiny, sample_photo("cat"))


def change(recording: explorer.Recording, *patches: tuple[int, int]) -> str:
    return f"{recording.what_if([DropPatches(patches)]).change:+.3f}"


def test_painted_patches_leave_the_model_and_come_back(page: Page, app, recording):
    page.goto(app + LINK)
    frame = page.locator("[data-part=frame]")
    frame.wait_for()
    delta = page.get_by_test_id("stMetric").filter(has_text="Score for").get_by_test_id("stMetricDelta")
    box = settled_box(frame)
    side = box["width"] / 8

    def at(row: int, col: int) -> tuple[float, float]:
        return box["x"] + (col + 0.5) * side, box["y"] + (row + 0.5) * side

    page.mouse.click(*at(2, 3))
    expect(page).to_have_url(re.compile("edits=drop"))
    expect(delta).to_contain_text(change(recording, (2, 3)))
    page.mouse.move(*at(5, 1))
    page.mouse.down()
    page.mouse.move(*at(5, 3), steps=12)
    page.mouse.up()
    expect(delta).to_contain_text(change(recording, (2, 3), (5, 1), (5, 2), (5, 3)))
    frame.focus()
    page.mouse.move(*at(2, 3))
    frame.press(" ")
    expect(delta).to_contain_text(change(recording, (5, 1), (5, 2), (5, 3)))
    page.get_by_role("button", name="patches dropped").click()
    expect(delta).to_have_count(0)
