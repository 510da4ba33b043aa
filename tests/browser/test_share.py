"""The live page in one file, opened offline; and the Attention page's tabs that explain, test and share a view."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest
from playwright.sync_api import expect
from safetensors.torch import save_file

import explorer
from explorer.data.samples import sample_photo
from explorer.rendering.view import shown_map
from explorer.web.live_page import live_page
from explorer.web.notebook import recording_html
from tests.browser.conftest import TINY, drawn_weights
from tests.tiny import photo, tiny_model, with_artefacts
from tests.views import view_of

LINK = f"/attention?model=checkpoints%2F{TINY}&photo=cat"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_live_page_follows_the_mouse_offline(new_window, tmp_path, scheme):
    recording = explorer.record(tiny_model(), photo())
    file = tmp_path / "view.html"
    file.write_text(live_page(view_of(layer=1, head=2), recording), encoding="utf-8")
    page = new_window(offline=True, color_scheme=scheme, viewport={"width": 1200, "height": 900})
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    root = page.locator(".live[data-layer]")
    root.wait_for()
    box = page.locator("[data-part=picture]").bounding_box()
    assert box
    page.mouse.move(box["x"] + 5.5 / 8 * box["width"], box["y"] + 2.5 / 8 * box["height"])
    page.locator('.live[data-query="2,5"]').wait_for()
    np.testing.assert_allclose(drawn_weights(root), recording.attention(1, 2, (2, 5)).ravel(), atol=1e-6)
    page.keyboard.press("]")
    page.locator('.live[data-layer="2"]').wait_for()
    page.get_by_role("radio", name="max of heads").click()
    page.get_by_role("radio", name="rollout").click()
    page.locator('.live[data-shows="rollout"]').wait_for()
    np.testing.assert_allclose(drawn_weights(root), recording.rollout("cls", "max", start_layer=2).ravel(), atol=1e-6)
    page.get_by_role("radio", name="head 2", exact=True).click()
    page.mouse.move(box["x"] + 5.5 / 8 * box["width"], box["y"] + 2.5 / 8 * box["height"])
    page.locator('.live[data-query="2,5"][data-head="2"]').wait_for()
    np.testing.assert_allclose(drawn_weights(root), recording.attention(2, 2, (2, 5)).ravel(), atol=1e-6)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(23, 20, 18)"}[scheme]
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


def open_tab(page, app, name):
    page.goto(app + LINK)
    page.locator(".live[data-layer]").wait_for()
    page.get_by_role("tab", name=name).click()


def test_relevance_is_shown_beside_rollout_and_raw_attention(page, app):
    open_tab(page, app, "Relevance")
    expect(page.get_by_text("Gradient for class")).to_be_visible()
    expect(page.get_by_text("Rollout from cls", exact=True)).to_be_visible()


def test_evidence_runs_on_demand_and_ranks_heads(page, app):
    open_tab(page, app, "Evidence")
    expect(page.get_by_text("Best: layer")).to_be_visible()
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_text("attention: area").first).to_be_visible()


def test_artefact_tokens_say_how_many(page, app):
    open_tab(page, app, "Artefact tokens")
    expect(page.get_by_text("outlier").first).to_be_visible()
    expect(page.get_by_text("Entering layer")).to_be_visible()


def test_where_a_frame_allows_no_worker_the_page_computes_itself(page):
    """As in VS Code's notebooks, whose rules the frame of a recording inherits."""
    recording = explorer.record(tiny_model(), photo())
    rules = "script-src 'unsafe-inline'; child-src https: data:"
    meta = f'<meta http-equiv="Content-Security-Policy" content="{rules}">'
    page.set_content(f"<!doctype html>{meta}{recording_html(recording)}")
    inside = page.frame_locator("iframe")
    inside.get_by_role("radio", name="rollout").click()
    root = inside.locator('.live[data-shows="rollout"]')
    root.wait_for()
    start = int(root.get_attribute("data-layer") or 0)
    np.testing.assert_allclose(drawn_weights(root), recording.rollout(start_layer=start).ravel(), atol=1e-6)


def test_share_gives_the_script_and_the_live_page(page, app, tiny):
    open_tab(page, app, "Share")
    expect(page.get_by_text("sample_photo('cat')")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Live page (HTML)").click()
    with open(download.value.path(), encoding="utf-8") as file:
        assert "new LiveView" in file.read()
    with page.expect_download() as download:
        page.get_by_test_id("stDownloadButton").filter(has_text="Maps (NPZ)").last.click()
    with open(download.value.path(), "rb") as file:
        stored = np.load(io.BytesIO(file.read()))
    recording = explorer.record(tiny, sample_photo("cat"))
    np.testing.assert_allclose(stored["map"], recording.attention(2), rtol=1e-5)


def test_the_downloaded_script_writes_the_downloaded_picture_from_any_folder(page, app, tmp_path):
    open_tab(page, app, "Share")
    for button, file in (("Script (.py)", "script.py"), ("Picture (PNG)", "picture.png")):
        with page.expect_download() as download:
            page.get_by_test_id("stDownloadButton").filter(has_text=button).last.click()
        download.value.save_as(tmp_path / file)
    run = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")], cwd="/", capture_output=True, text=True, timeout=240,
        env={"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "view.png").read_bytes() == (tmp_path / "picture.png").read_bytes()


def test_a_shared_map_outlives_a_change_of_page_and_opens_from_its_link(page, app, new_window):
    page.goto(f"{app}{LINK}&tab=Share&map=relevance&class=3")
    expect(page.get_by_text("target=3")).to_be_visible()
    page.get_by_text("More", exact=True).click()
    page.get_by_role("checkbox", name="Patch grid").check()
    wanted = {"grid=1", "map=relevance", "class=3", "tab=Share"}
    page.wait_for_url(lambda url: wanted <= set(url.split("?")[1].split("&")))

    page.get_by_test_id("stTopNavLink").filter(has_text="Features").click()
    expect(page.get_by_role("heading", name="What the tokens hold")).to_be_visible()
    page.get_by_test_id("stTopNavLink").filter(has_text="Attention").click()
    page.get_by_role("tab", name="Share").click()
    expect(page.get_by_text("target=3")).to_be_visible()
    page.wait_for_url("**class=3**")

    other = new_window()
    other.goto(page.url)
    expect(other.get_by_text("target=3")).to_be_visible()


@pytest.fixture(scope="module")
def marked(app_folder):
    """A recording by a model in the server's checkpoints whose patch (2, 5) is an artefact token on every photo."""
    path = app_folder / "checkpoints" / "marked.safetensors"
    save_file(with_artefacts(tiny_model(), (2, 5)).module.state_dict(), path)
    return explorer.record(explorer.load_model(path, num_heads=4, device="cpu"), sample_photo("cat"))


def test_artefact_tokens_leave_canvas_tab_address_and_npz_together(page, app, marked):
    shown, hidden = (shown_map(view_of(layer=2, hide_artefacts=hide), marked) for hide in (False, True))
    page.goto(f"{app}/attention?model=checkpoints%2Fmarked.safetensors&heads=4&photo=cat&layer=2&tab=Artefact+tokens")
    root = page.locator(".live[data-layer]")
    root.wait_for()

    def canvas_shows(expected):
        for _ in range(200):
            weights = drawn_weights(root)
            if len(weights) == 64 and np.allclose(weights, expected.ravel(), atol=1e-5):
                return
            page.wait_for_timeout(200)
        np.testing.assert_allclose(weights, expected.ravel(), atol=1e-5)

    canvas_shows(shown)
    page.get_by_text("Take them out of every map of this page").click()
    canvas_shows(hidden)
    page.get_by_text("More", exact=True).click()
    expect(page.get_by_role("checkbox", name="Hide 1 odd patch (artefacts)")).to_be_checked()
    page.wait_for_url("**hide_artefacts=**")
    with page.expect_download() as download:
        page.get_by_role("button", name="Maps (NPZ)").click()
    with np.load(download.value.path()) as stored:
        np.testing.assert_allclose(stored["map"], hidden, atol=1e-5)
    link = page.url
    page.goto("about:blank")
    page.goto(link)
    canvas_shows(hidden)
    page.get_by_role("checkbox", name="Hide 1 odd patch (artefacts)").uncheck()
    canvas_shows(shown)
    expect(page.get_by_role("switch", name="Take them out of every map of this page")).not_to_be_checked()
