"""The live canvas in a real browser, on a page of its own: its numbers, its mouse, its keys, its words."""

import base64
from dataclasses import replace

import numpy as np
import pytest
import torch
from playwright.sync_api import Page

import explorer
from explorer.rendering.colormaps import colorize
from explorer.rendering.overlay import enlarge, normalize
from explorer.rendering.view import limits, shown_map
from explorer.web.payload import canvas_markup, canvas_payload, canvas_script
from tests.tiny import photo, tiny_model, with_artefacts
from tests.views import changed, view_of

VIEW = view_of(image="photo", layer=1, head="mean", query="cls")


def open_canvas(page: Page, payload: bytes) -> None:
    html, css = canvas_markup()
    exports = "Object.assign(window, {LiveView, massMask, range, enlarge, normalize, colorize})"
    page.set_content(f"<style>{css}</style>{html}<script type=module>{canvas_script()}\n{exports}</script>")
    page.wait_for_function("window.LiveView !== undefined")
    page.evaluate("window.reports = []; window.view = new LiveView(document.body, (change) => reports.push(change))")
    send(page, payload)


def send(page: Page, payload: bytes) -> None:
    """Update the canvas as Streamlit does, and wait until it has drawn."""
    page.evaluate(
        """(text) => new Promise((drawn) => {
            const all = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
            const odd = new Uint8Array(all.length + 3);  // bytes inside a message don't start aligned
            odd.set(all, 3);
            view.root.addEventListener("drawn", drawn, { once: true });
            view.update(odd.subarray(3));
        })""",
        base64.b64encode(payload).decode(),
    )


def settle(page: Page) -> None:
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())))")


def shown(page: Page) -> np.ndarray:
    return np.array(page.evaluate("Array.from(view.shown.weights)"), np.float32)


@pytest.fixture(scope="module")
def recording():
    return explorer.record(tiny_model(reg_tokens=2), photo(96, 64), size=64, fit="keep")


@pytest.fixture
def canvas(page: Page, recording):
    open_canvas(page, canvas_payload(recording, VIEW))
    return page


def hover(page: Page, row: int, col: int, grid=(8, 12)) -> None:
    box = page.locator("[data-part=picture]").bounding_box()
    assert box
    page.mouse.move(box["x"] + (col + 0.5) * box["width"] / grid[1], box["y"] + (row + 0.5) * box["height"] / grid[0])
    settle(page)


@pytest.mark.parametrize("head", ["mean", "max", "min", 0, 3])
def test_weights_are_the_recordings(canvas, recording, head):
    for query in ("cls", "reg2", (0, 0), (7, 11), "mean"):
        send(canvas, canvas_payload(recording, changed(VIEW, head=head, query=query)))
        np.testing.assert_allclose(shown(canvas), recording.attention(1, head, query).ravel(), atol=1e-6)


def test_additive_bias_shared_or_per_head_goes_into_the_scores(page, recording):
    torch.manual_seed(0)
    for heads in (1, 4):
        call = recording.calls[1]
        bias = torch.randn(heads, call.q.shape[1], call.q.shape[1])
        bias[:, :, 5] = -torch.inf
        biased = replace(recording, calls=[recording.calls[0], replace(call, bias=bias)])
        open_canvas(page, canvas_payload(biased, changed(VIEW, head=2, query=(3, 5))))
        np.testing.assert_allclose(shown(page), biased.attention(1, 2, (3, 5)).ravel(), atol=1e-6)


def test_half_precision_is_read_and_said(page, recording):
    open_canvas(page, canvas_payload(recording, VIEW, limit=recording.q(1).nbytes * 2 - 1))
    np.testing.assert_allclose(shown(page), recording.attention(1, "mean", "cls").ravel(), atol=2e-3)
    assert "half precision" in page.locator("[data-part=note]").inner_text()


def test_hovering_shows_where_that_patch_looks_and_leaving_goes_back(canvas, recording):
    hover(canvas, 3, 7)
    np.testing.assert_allclose(shown(canvas), recording.attention(1, "mean", (3, 7)).ravel(), atol=1e-6)
    assert canvas.locator("[data-part=readout]").inner_text().startswith("patch (3, 7) gives row ")
    canvas.mouse.move(1, 1)
    canvas.mouse.move(1390, 990)
    settle(canvas)
    np.testing.assert_allclose(shown(canvas), recording.attention(1, "mean", "cls").ravel(), atol=1e-6)
    assert canvas.evaluate("reports.length") == 0, "hovering is no trip to the server"


def test_hovering_repaints_the_picture(canvas):
    pixels = "view.picture.toDataURL()"
    before = canvas.evaluate(pixels)
    hover(canvas, 2, 2)
    assert canvas.evaluate(pixels) != before


def test_shift_reads_the_weight_under_the_mouse(canvas, recording):
    canvas.keyboard.down("Shift")
    hover(canvas, 4, 9)
    weight = recording.attention(1, "mean", "cls")[4, 9]
    assert canvas.locator("[data-part=readout]").inner_text() == (
        f"row 4, column 9: {float(f'{100 * weight:.2g}'):g} % of the attention of cls · mean of heads"
    )


def test_a_click_pins_and_reports_and_arrow_keys_move_the_pin(canvas):
    hover(canvas, 5, 6)
    canvas.mouse.down()
    canvas.mouse.up()
    assert canvas.evaluate("reports.at(-1).query") == [5, 6]
    canvas.mouse.move(1390, 990)
    canvas.locator("[data-part=picture]").focus()
    canvas.keyboard.press("ArrowUp")
    canvas.keyboard.press("ArrowRight")
    settle(canvas)
    assert canvas.evaluate("view.shown.query") == [4, 7]
    canvas.wait_for_function("String(reports.at(-1).query) === '4,7'")
    canvas.keyboard.press("Escape")
    settle(canvas)
    assert canvas.evaluate("view.shown.query") == "cls"


def test_arrow_keys_in_quick_succession_are_one_report(canvas):
    canvas.locator("[data-part=picture]").evaluate("""(picture) => {
        for (const key of ["ArrowUp", "ArrowUp", "ArrowRight"])
            picture.dispatchEvent(new KeyboardEvent("keydown", { key }));
    }""")
    assert canvas.evaluate("reports.length") == 0
    canvas.wait_for_function("reports.length === 1")
    assert canvas.evaluate("reports[0].query") == [3, 7]


def test_heads_and_tools_answer_clicks(canvas, recording):
    canvas.get_by_role("radio", name="head 2", exact=True).click()
    settle(canvas)
    np.testing.assert_allclose(shown(canvas), recording.attention(1, 2, "cls").ravel(), atol=1e-6)
    canvas.get_by_role("radio", name="reg1").click()
    canvas.get_by_role("radio", name="viridis").click()
    canvas.get_by_role("radio", name="blocks").click()
    canvas.get_by_role("radio", name="the layer's highest").click()
    canvas.get_by_label("Patch grid").check()
    report = canvas.evaluate("reports.at(-1)")
    assert (report["head"], report["query"]) == (2, "reg1")
    assert report["look"] == {
        "colormap": "viridis", "opacity": 0.6, "resample": "nearest", "scale": "shared", "mass": None,
        "hide_artefacts": False, "grid": True,
    }  # fmt: skip


def test_arrow_keys_walk_through_a_group_of_choices(canvas):
    canvas.get_by_role("radio", name="cls").press("ArrowRight")
    assert canvas.evaluate("reports.at(-1).query") == "reg1"
    settle(canvas)
    chosen = canvas.get_by_role("radio", name="reg1")
    assert chosen.get_attribute("aria-checked") == "true"
    assert chosen.evaluate("(button) => button === document.activeElement && button.tabIndex === 0")
    canvas.get_by_role("radio", name="inferno").press("ArrowLeft")
    assert canvas.evaluate("reports.at(-1).look.colormap") == "grey"


def test_a_slider_redraws_while_dragged_and_reports_when_let_go(canvas):
    before = canvas.evaluate("view.picture.toDataURL()")
    slider = canvas.locator("[data-part=opacity]")
    slider.evaluate("(s) => { s.value = 0.2; s.dispatchEvent(new Event('input')) }")
    settle(canvas)
    assert canvas.evaluate("view.picture.toDataURL()") != before
    assert canvas.evaluate("reports.length") == 0
    slider.dispatch_event("change")
    assert canvas.evaluate("reports.at(-1).look.opacity") == 0.2


def hidden_map(recording, view):
    """What Python shows of a view that hides its artefact tokens."""
    return shown_map(changed(view, hide_artefacts=True), recording).ravel()


@pytest.mark.parametrize("head", ["mean", "max", "min", 2])
def test_artefact_tokens_are_taken_out_as_python_takes_them_out(page, head):
    recording = explorer.record(with_artefacts(tiny_model(), (2, 5), (7, 0)), photo())
    view = changed(VIEW, head=head)
    open_canvas(page, canvas_payload(recording, view))
    np.testing.assert_allclose(shown(page), shown_map(view, recording).ravel(), atol=1e-6)
    switch = page.get_by_role("checkbox", name="Hide 2 odd patches (artefacts)")
    switch.check()
    settle(page)
    assert page.evaluate("reports.at(-1).look.hide_artefacts") is True
    np.testing.assert_allclose(shown(page), hidden_map(recording, view), atol=1e-6)
    hover(page, 4, 4, grid=(8, 8))
    np.testing.assert_allclose(shown(page), hidden_map(recording, changed(view, query=(4, 4))), atol=1e-6)
    small = np.array(page.evaluate("Array.from(view.patches(view.rowsOf([4, 4]), 3))"), np.float32)
    np.testing.assert_allclose(small, hidden_map(recording, changed(view, head=3, query=(4, 4))), atol=1e-6)
    for scale in ("map", "shared"):
        page.evaluate("(scale) => view.setLook({ scale })", scale)
        at = changed(view, query=(4, 4), scale=scale, hide_artefacts=True)
        drawn = page.evaluate("view.limits(view.rowsOf([4, 4]), view.patches(view.rowsOf([4, 4]), view.state.head))")
        assert drawn == pytest.approx(limits(at, recording, shown_map(at, recording)), abs=1e-6)
    page.keyboard.down("Shift")
    hover(page, 2, 5, grid=(8, 8))
    assert "taken out" in page.locator("[data-part=readout]").inner_text()


def test_a_view_that_hides_them_opens_so(page):
    recording = explorer.record(with_artefacts(tiny_model(), (2, 5)), photo())
    open_canvas(page, canvas_payload(recording, changed(VIEW, hide_artefacts=True)))
    assert page.get_by_role("checkbox", name="Hide 1 odd patch (artefacts)").is_checked()
    np.testing.assert_allclose(shown(page), hidden_map(recording, VIEW), atol=1e-6)


def test_without_artefact_tokens_there_is_nothing_to_switch(page, recording):
    for norms, label in ((recording.norms, "none here"), (None, "not known")):
        open_canvas(page, canvas_payload(replace(recording, norms=norms), VIEW))
        assert page.get_by_role("checkbox", name=f"Hide odd patches (artefacts): {label}").is_disabled()


def test_the_mass_mask_is_the_recordings(canvas, recording):
    for mass in (0.05, 0.6, 1.0):
        kept = canvas.evaluate("(mass) => Array.from(massMask(view.shown.weights, mass))", mass)
        np.testing.assert_array_equal(np.array(kept, bool).reshape(8, 12), recording.mass_mask(1, "mean", mass, "cls"))


def test_colours_are_those_of_the_downloaded_picture(canvas, recording):
    heatmap = recording.attention(1, "mean", "cls")
    expected = colorize(enlarge(normalize(heatmap), (120, 80)), "viridis")
    drawn = canvas.evaluate(
        """() => {
            const units = normalize(view.shown.weights, range(view.shown.weights));
            return Array.from(colorize(enlarge(units, [8, 12], [80, 120]), 120, view.data.luts.viridis).data);
        }"""
    )
    pixels = np.array(drawn, np.uint8).reshape(80, 120, 4)[..., :3].astype(int)
    assert np.abs(pixels - expected.astype(int)).max() <= 3
    assert (pixels == expected).mean() > 0.99


def test_without_q_and_k_a_click_waits_for_python(page, recording):
    open_canvas(page, canvas_payload(recording, VIEW, limit=0))
    assert "Hovering is off" in page.locator("[data-part=note]").inner_text()
    hover(page, 2, 2)
    np.testing.assert_allclose(shown(page), recording.attention(1, "mean", "cls").ravel(), atol=1e-6)
    page.mouse.down()
    page.mouse.up()
    settle(page)
    assert page.evaluate("view.shown.query") == "cls", "the old picture stays until the server has answered"
    seq = page.evaluate("reports.at(-1).seq")
    send(page, canvas_payload(recording, changed(VIEW, query=(2, 2)), seq=seq, limit=0))
    assert page.evaluate("view.shown.query") == [2, 2]
    np.testing.assert_allclose(shown(page), recording.attention(1, "mean", (2, 2)).ravel(), atol=1e-6)


def test_an_answer_older_than_the_last_change_does_not_undo_it(canvas, recording):
    canvas.get_by_role("radio", name="head 3", exact=True).click()
    send(canvas, canvas_payload(recording, changed(VIEW, layer=0), seq=0))
    assert canvas.evaluate("[view.shown.layer, view.shown.head]") == [0, 3]


def test_words_for_those_who_cannot_see_it(canvas, recording):
    alt = canvas.locator("[data-part=picture]").get_attribute("aria-label")
    heatmap = recording.attention(1, "mean", "cls")
    row, col = np.unravel_index(heatmap.argmax(), heatmap.shape)
    assert alt == (
        f"Attention of layer 1, mean of heads, from cls: highest weight {heatmap.max():.4f} "
        f"at patch ({row}, {col}) of 8 by 12."
    )
    canvas.keyboard.press("Tab")
    assert canvas.evaluate("document.activeElement.dataset.part") == "picture"


def test_sharp_on_a_dense_display(new_window, recording):
    tab = new_window(viewport={"width": 1000, "height": 800}, device_scale_factor=2)
    open_canvas(tab, canvas_payload(recording, VIEW))
    box = tab.locator("[data-part=picture]").bounding_box()
    assert abs(tab.evaluate("view.picture.width") - 2 * box["width"]) <= 2
