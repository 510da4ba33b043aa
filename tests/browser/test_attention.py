"""The Attention page on the real server: what the canvas shows is what the library says, and links bring it back."""

import io
import re
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

import explorer
from explorer.data.samples import sample_photo
from tests.browser.conftest import TINY, drawn_weights, settled_box

LINK = f"/attention?model=checkpoints%2F{TINY}&photo=cat"
GRID = (8, 8)


@pytest.fixture(scope="module")
def recording(tiny):
    return explorer.record(tiny, sample_photo("cat"))


def open_page(page: Page, app: str, link: str = LINK) -> Locator:
    """The canvas, once it has drawn."""
    page.goto(app + link)
    canvas = page.locator(".live[data-layer]")
    canvas.wait_for()
    return canvas


def shows(page: Page, layer: int, head: str, query: str) -> Locator:
    """The canvas, once it shows just that."""
    canvas = page.locator(f'.live[data-layer="{layer}"][data-head="{head}"][data-query="{query}"]')
    canvas.wait_for()
    return canvas


def weights(canvas: Locator) -> np.ndarray:
    return drawn_weights(canvas).reshape(GRID)


def centre(page: Page, row: int, col: int) -> tuple[float, float]:
    box = settled_box(page.locator("[data-part=picture]"))
    return box["x"] + (col + 0.5) * box["width"] / GRID[1], box["y"] + (row + 0.5) * box["height"] / GRID[0]


def settings_in(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def test_canvas_shows_the_recordings_attention_and_follows_layer_and_mouse(page, app, recording):
    canvas = open_page(page, app)
    np.testing.assert_allclose(weights(canvas), recording.attention(2, "mean", "cls"), atol=1e-5)

    page.get_by_role("slider", name="Layer", exact=True).press("ArrowLeft")
    canvas = shows(page, 1, "mean", "cls")
    np.testing.assert_allclose(weights(canvas), recording.attention(1, "mean", "cls"), atol=1e-5)

    before = page.locator("[data-part=picture]").screenshot()
    page.mouse.move(*centre(page, 2, 5))
    canvas = shows(page, 1, "mean", "2,5")
    np.testing.assert_allclose(weights(canvas), recording.attention(1, "mean", (2, 5)), atol=1e-5)
    assert page.locator("[data-part=picture]").screenshot() != before


def test_a_click_pins_the_patch_for_python_too(page, app, recording):
    open_page(page, app)
    page.mouse.click(*centre(page, 6, 1))
    shows(page, 2, "mean", "6,1")
    expect(page.get_by_text("Rollout from patch (6, 1), layers 0 to 2")).to_be_visible()
    page.wait_for_url("**query=6%2C1**")
    with page.expect_download() as download:
        page.get_by_role("button", name="Maps (NPZ)").click()
    with np.load(download.value.path()) as maps:
        np.testing.assert_allclose(maps["map"], recording.attention(2, "mean", (6, 1)), atol=1e-5)
    with page.expect_download() as download:
        page.get_by_role("button", name="Picture (PNG)").click()
    with open(download.value.path(), "rb") as file:
        assert Image.open(io.BytesIO(file.read())).size == (270, 270)  # what the model sees of it


def test_heads_are_picked_below_the_canvas_and_on_the_slider_alike(page, app, recording):
    open_page(page, app)
    page.get_by_role("radio", name="head 3", exact=True).click()
    np.testing.assert_allclose(weights(shows(page, 2, "3", "cls")), recording.attention(2, 3, "cls"), atol=1e-5)
    slider = page.get_by_role("slider", name="Head", exact=True)
    expect(slider).to_have_attribute("aria-valuetext", "3")
    slider.press("ArrowLeft")
    shows(page, 2, "2", "cls")


def test_the_mean_of_all_patches_can_be_asked(page, app, recording):
    open_page(page, app)
    page.get_by_role("radio", name="mean of patches").click()
    np.testing.assert_allclose(
        weights(shows(page, 2, "mean", "mean")), recording.attention(2, "mean", "mean"), atol=1e-5
    )


def test_a_copied_link_opens_the_same_view(page, app):
    open_page(page, app)
    page.get_by_role("slider", name="Layer", exact=True).press("Home")
    shows(page, 0, "mean", "cls")
    page.get_by_role("radio", name="head 1", exact=True).click()
    page.get_by_role("radio", name="reg2").click()
    page.get_by_role("radio", name="viridis").click()
    page.get_by_text("More", exact=True).click()
    page.get_by_role("radio", name="blocks").click()
    opacity = page.get_by_role("slider", name="Opacity of the map")
    opacity.press("ArrowRight")
    wanted = {"layer": "0", "head": "1", "query": "reg2", "colormap": "viridis", "resample": "nearest"}
    wanted |= {"opacity": "0.61"}
    page.wait_for_url(lambda url: wanted.items() <= settings_in(url).items())

    link = page.url
    page.goto("about:blank")
    page.goto(link)
    shows(page, 0, "1", "reg2")
    expect(page.get_by_role("radio", name="viridis")).to_be_checked()
    expect(page.get_by_role("radio", name="blocks")).to_be_checked()
    expect(page.get_by_role("slider", name="Opacity of the map")).to_have_value("0.61")


def test_what_a_link_asks_for_in_vain_is_said_and_the_default_shown(page, app):
    open_page(page, app, LINK + "&size=97&layer=40&query=99,3")
    shows(page, 2, "mean", "cls")
    said = "The link asks for size “97”, layer “40” and query “99,3”, which can't be used. Shown instead: the defaults."
    expect(page.get_by_role("alert")).to_have_text([re.compile(said)])


def test_every_tab_opens(page, app):
    open_page(page, app)
    expect(page.get_by_text("Rollout from cls, layers 0 to 2")).to_be_visible()
    page.get_by_role("tab", name="Matrix").click()
    expect(page.locator(".js-plotly-plot .heatmaplayer image")).to_have_count(2)
    page.get_by_role("tab", name="Numbers").click()
    expect(page.get_by_text("Layer 2, from cls; distances over all patch queries.")).to_be_visible()


def test_a_tile_of_the_mosaic_picks_layer_and_head_for_the_whole_page(page, app):
    open_page(page, app)
    page.get_by_role("radio", name="all layers × heads").click()
    mosaic = page.locator("[data-part=mosaic]")
    box = settled_box(mosaic)
    wide, high = (box["width"] - 20) / 3, (box["height"] - 20) / 4
    page.mouse.click(box["x"] + 20 + 1.5 * wide, box["y"] + 20 + 2.5 * high)
    shows(page, 1, "2", "cls")
    wanted = {"layer": "1", "head": "2", "mosaic": "1"}
    page.wait_for_url(lambda url: wanted.items() <= settings_in(url).items())
    expect(page.get_by_text("Attention from cls, layer 1, head 2")).to_be_visible()


@pytest.mark.parametrize("size", [(1400, 900), (1280, 720)])
def test_picture_readout_small_maps_classes_and_tabs_fit_one_screen(new_window, app, size):
    page = new_window(viewport={"width": size[0], "height": size[1]})
    open_page(page, app)
    picture = settled_box(page.locator("[data-part=picture]"))
    assert picture["height"] > 0.4 * size[1]
    for part in ("picture", "readout", "heads", "classes"):
        box = page.locator(f"[data-part={part}]").bounding_box()
        assert box and box["y"] > 0 and box["y"] + box["height"] <= size[1], part
    tab = page.get_by_role("tab").first.bounding_box()
    assert tab and tab["y"] + tab["height"] <= size[1]


def test_a_rollout_on_the_canvas_is_what_is_downloaded_and_linked(page, app, recording):
    open_page(page, app, LINK + "&layer=1&head=max&shows=rollout")
    canvas = page.locator('.live[data-shows="rollout"]')
    canvas.wait_for()
    expected = recording.rollout("cls", "max", start_layer=1)
    np.testing.assert_allclose(weights(canvas), expected, atol=1e-5)
    with page.expect_download() as download:
        page.get_by_role("button", name="Maps (NPZ)").click()
    with np.load(download.value.path()) as maps:
        np.testing.assert_allclose(maps["map"], expected, atol=1e-5)


def test_layers_change_in_the_browser_and_a_second_visit_fetches_no_layer_again(page, app, recording):
    files: list[str] = []
    received: list[int] = []
    page.on("request", lambda request: files.append(request.url) if request.url.endswith(".zip") else None)
    page.on("websocket", lambda socket: socket.on("framereceived", lambda data: received.append(len(data))))
    canvas = open_page(page, app)
    page.locator('.live[data-complete="true"]').wait_for()
    assert len(files) == len(set(files)) == 4, "the photo and three layers"
    canvas.locator("[data-part=picture]").press("[")
    np.testing.assert_allclose(weights(shows(page, 1, "mean", "cls")), recording.attention(1), atol=1e-5)
    page.wait_for_url("**layer=1**")

    page.get_by_role("link", name="Features", exact=True).first.click()
    page.get_by_role("heading", name="What the tokens hold").wait_for()
    page.get_by_role("link", name="Attention", exact=True).first.click()
    shows(page, 1, "mean", "cls")
    page.reload()
    shows(page, 1, "mean", "cls")
    page.locator('.live[data-complete="true"]').wait_for()
    assert len(files) == 4
    assert max(received) < 200_000, "nor do they come another way"


def test_back_leads_to_the_page_before_however_often_something_was_clicked(page, app):
    page.goto(app + LINK.replace("/attention", "/patches"))
    page.get_by_role("heading", name="How a photo becomes tokens").wait_for()
    page.get_by_role("link", name="Attention").first.click()
    page.locator(".live[data-layer]").wait_for()
    for col in (1, 4, 6):
        page.mouse.click(*centre(page, 2, col))
        page.wait_for_url(f"**query=2%2C{col}**")
    page.go_back()
    page.get_by_role("heading", name="How a photo becomes tokens").wait_for()


def test_entries_added_before_the_script_ran_are_passed_over(page, app):
    add = "(url) => History.prototype.pushState.call(history, {}, '', url)"  # as Streamlit does until then
    patches = LINK.replace("/attention", "/patches")
    page.goto(app + patches)
    page.get_by_role("heading", name="How a photo becomes tokens").wait_for()
    page.wait_for_function("window.settingsReplaceAddress")
    for number in (1, 2):
        page.evaluate(add, f"{patches}&early={number}")
    page.get_by_role("link", name="Attention").first.click()
    page.locator(".live[data-layer]").wait_for()
    for number in (3, 4):
        page.evaluate(add, f"{LINK}&early={number}")

    page.go_back()
    page.get_by_role("heading", name="How a photo becomes tokens").wait_for()
    page.go_forward()
    page.locator(".live[data-layer]").wait_for()
    page.go_back()
    page.get_by_role("heading", name="How a photo becomes tokens").wait_for()
