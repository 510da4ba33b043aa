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
from explorer.web.payload import canvas_markup, canvas_payload, canvas_script, recording_files
from tests.tiny import photo, tiny_model, with_artefacts
from tests.views import changed, view_of

VIEW = view_of(image="photo", layer=1, head="mean", query="cls")


def open_canvas(page: Page, payload: bytes | None = None) -> None:
    html, css = canvas_markup()
    exports = "Object.assign(window, {LiveView, massMask, range, enlarge, normalize, colorize})"
    page.set_content(f"<style>{css}</style>{html}<script type=module>{canvas_script()}\n{exports}</script>")
    page.wait_for_function("window.LiveView !== undefined")
    page.evaluate("window.reports = []; window.view = new LiveView(document.body, (change) => reports.push(change))")
    if payload:
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


def stream(page: Page, recording, view, **settings) -> None:
    """Update the canvas with the names of files, as the app does; window.fetched lists those it asked for."""
    files = recording_files(recording)
    contents = {"photo": files.photo, **{f"layer {layer}": content for layer, content in enumerate(files.layers)}}
    page.evaluate(
        """(contents) => {
            window.fetched ??= [];
            view.fetchFile = async (name) => {
                fetched.push(name);
                return Uint8Array.from(atob(contents[name]), (c) => c.charCodeAt(0));
            };
        }""",
        {name: base64.b64encode(content).decode() for name, content in contents.items()},
    )
    urls = {"photo": "photo", "layers": [name for name in contents if name != "photo"]}
    send(page, canvas_payload(recording, view, files=files, urls=urls, steps=True, **settings))


def more(page: Page) -> None:
    page.get_by_text("More", exact=True).click()


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


def test_additive_bias_shared_or_per_head_and_query_goes_into_the_scores(page, recording):
    torch.manual_seed(0)
    for heads in (1, 4):
        call = recording.calls[1]
        bias = torch.randn(heads, call.q.shape[1] if heads == 4 else 1, call.q.shape[1])
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
        f"row 4, column 9: {float(f'{100 * weight:.2g}'):g} % of the attention of cls · layer 1, mean of heads"
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
    more(canvas)
    canvas.get_by_role("radio", name="blocks").click()
    canvas.get_by_role("radio", name="the layer's highest").click()
    canvas.get_by_label("Patch grid").check()
    report = canvas.evaluate("reports.at(-1)")
    assert (report["head"], report["query"]) == (2, "reg1")
    assert report["look"] == {
        "colormap": "viridis", "opacity": 0.6, "resample": "nearest", "scale": "shared", "mass": None,
        "hide_artefacts": False, "grid": True, "mosaic": False,
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
    more(page)
    switch = page.get_by_role("checkbox", name="Hide 2 odd patches (artefacts)")
    switch.check()
    settle(page)
    assert page.evaluate("reports.at(-1).look.hide_artefacts") is True
    np.testing.assert_allclose(shown(page), hidden_map(recording, view), atol=1e-6)
    hover(page, 4, 4, grid=(8, 8))
    np.testing.assert_allclose(shown(page), hidden_map(recording, changed(view, query=(4, 4))), atol=1e-6)
    small = np.array(page.evaluate("Array.from(view.patches(view.fused(view.rowsOf(1, [4, 4]), 3)))"), np.float32)
    np.testing.assert_allclose(small, hidden_map(recording, changed(view, head=3, query=(4, 4))), atol=1e-6)
    for scale in ("map", "shared"):
        page.evaluate("(scale) => view.setLook({ scale })", scale)
        at = changed(view, query=(4, 4), scale=scale, hide_artefacts=True)
        drawn = page.evaluate("""() => {
            const rows = view.rowsOf(1, [4, 4]);
            return view.limits(view.patches(view.fused(rows, view.state.head)), view.sharedLimits(rows));
        }""")
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
        more(page)
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
            return Array.from(colorize(enlarge(units, [8, 12], [80, 120]), 120, view.luts.viridis).data);
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


@pytest.fixture
def streamed(page, recording):
    """The canvas with every layer, as on the Attention page."""
    open_canvas(page)
    stream(page, recording, VIEW)
    page.wait_for_function("view.recording.complete")
    settle(page)
    return page


def test_the_shown_layer_comes_first_and_nothing_twice(page, recording):
    open_canvas(page)
    page.evaluate("""() => {
        window.atFirst = null;
        view.root.addEventListener("drawn", () => (window.atFirst ??= [...(window.fetched ?? [])]));
    }""")
    stream(page, recording, VIEW)
    assert page.evaluate("atFirst") == ["photo", "layer 1"]
    page.wait_for_function("view.recording.complete")
    stream(page, recording, changed(VIEW, layer=0, head=2, query=(3, 5)))
    np.testing.assert_allclose(shown(page), recording.attention(0, 2, (3, 5)).ravel(), atol=1e-6)
    assert sorted(page.evaluate("fetched")) == ["layer 0", "layer 1", "layer 2", "photo"]


def test_keys_and_sliders_choose_layer_and_head_and_python_hears_when_the_hand_rests(streamed, recording):
    picture = streamed.locator("[data-part=picture]")
    for key, layer, head in (
        ("]", 2, "mean"),
        ("]", 2, "mean"),
        ("[", 1, "mean"),
        ("3", 1, 3),
        ("[", 0, 3),
        ("9", 0, 3),
    ):
        picture.press(key)
        settle(streamed)
        assert streamed.evaluate("[view.shown.layer, view.shown.head]") == [layer, head]
        np.testing.assert_allclose(shown(streamed), recording.attention(layer, head, "cls").ravel(), atol=1e-6)
    streamed.wait_for_function("reports.at(-1)?.layer === 0 && reports.at(-1).head === 3")
    for slider, key in (("Layer", "End"), ("Head", "Home")):
        streamed.get_by_role("slider", name=slider, exact=True).press(key)
    settle(streamed)
    np.testing.assert_allclose(shown(streamed), recording.attention(2, "mean", "cls").ravel(), atol=1e-6)
    streamed.get_by_role("slider", name="Head").press("ArrowRight")
    streamed.keyboard.press("m")
    settle(streamed)
    assert streamed.evaluate("view.shown.head") == "mean"


def test_an_answer_older_than_the_last_change_does_not_undo_it(streamed, recording):
    seq = streamed.evaluate("view.seq")
    streamed.get_by_role("slider", name="Layer", exact=True).press("ArrowRight")  # not yet reported
    stream(streamed, recording, changed(VIEW, layer=0), seq=seq)
    assert streamed.evaluate("view.shown.layer") == 2
    streamed.wait_for_function("reports.length")
    stream(streamed, recording, changed(VIEW, layer=0), seq=streamed.evaluate("reports.at(-1).seq"))
    assert streamed.evaluate("view.shown.layer") == 0, "a change from outside the canvas counts"


def test_the_mosaic_shows_every_map_of_the_patch_under_the_mouse(streamed, recording):
    streamed.get_by_role("radio", name="all layers × heads").click()
    hover(streamed, 2, 9)
    sheet = streamed.evaluate("""() => {
        const { width, height } = view.mosaic.sheet;
        return Array.from(view.mosaic.sheet.getContext("2d").getImageData(0, 0, width, height).data);
    }""")
    pixels = np.array(sheet, int).reshape(4, 8, 3, 12, 4)[..., :3]  # head row layer col
    for layer, head in np.ndindex(3, 4):
        expected = colorize(normalize(recording.attention(layer, head, (2, 9))), "inferno").astype(int)
        assert np.abs(pixels[head, :, layer] - expected).max() <= 4


def test_a_tile_is_shown_large_under_the_mouse_and_picked_by_a_click(streamed, recording):
    streamed.get_by_role("radio", name="all layers × heads").click()
    settle(streamed)
    box = streamed.locator("[data-part=mosaic]").bounding_box()
    wide, high = streamed.evaluate("view.mosaic.tile")
    assert box
    streamed.mouse.move(box["x"] + 20 + 0.5 * wide, box["y"] + 20 + 2.5 * high)
    settle(streamed)
    np.testing.assert_allclose(shown(streamed), recording.attention(0, 2, "cls").ravel(), atol=1e-6)
    assert "layer 0, head 2" in streamed.locator("[data-part=readout]").inner_text()
    streamed.mouse.move(1390, 990)
    settle(streamed)
    assert streamed.evaluate("[view.shown.layer, view.shown.head]") == [1, "mean"]
    streamed.mouse.click(box["x"] + 20 + 2.5 * wide, box["y"] + 20 + 3.5 * high)
    streamed.mouse.move(1390, 990)
    settle(streamed)
    report = streamed.evaluate("reports.at(-1)")
    assert (
        (report["layer"], report["head"]) == (2, 3) == tuple(streamed.evaluate("[view.shown.layer, view.shown.head]"))
    )
    streamed.locator("[data-part=mosaic]").press("ArrowUp")
    settle(streamed)
    assert streamed.evaluate("[view.shown.layer, view.shown.head]") == [2, 2]


@pytest.mark.parametrize("fusion", ["mean", "max", "min"])
def test_rollout_in_the_browser_is_pythons(streamed, recording, fusion):
    streamed.get_by_role("radio", name="rollout").click()
    for start, query in ((0, "cls"), (1, (4, 7)), (2, "mean")):
        drawn = "new Promise((drawn) => view.root.addEventListener('drawn', drawn, { once: true }))"
        streamed.evaluate(
            f"(change) => {{ view.set(change); return {drawn}; }}", {"layer": start, "head": fusion, "query": query}
        )
        streamed.wait_for_function("(start) => view.shown.shows === 'rollout' && view.shown.layer === start", arg=start)
        expected = recording.rollout(query, fusion, start_layer=start)
        np.testing.assert_allclose(shown(streamed), expected.ravel(), atol=1e-6)
    assert "rollout from layer 2" in streamed.locator("[data-part=readout]").inner_text()


def test_a_single_head_leaves_the_rollout(streamed):
    streamed.get_by_role("radio", name="rollout").click()
    streamed.wait_for_function("view.shown.shows === 'rollout'")
    streamed.get_by_role("radio", name="head 1", exact=True).click()
    settle(streamed)
    assert streamed.evaluate("[view.shown.shows, view.shown.head]") == ["attention", 1]


def test_the_mean_of_patches_is_worked_out_beside_the_page(streamed, recording):
    streamed.get_by_role("radio", name="mean of patches").click()
    streamed.wait_for_function("view.shown.query === 'mean'")
    np.testing.assert_allclose(shown(streamed), recording.attention(1, "mean", "mean").ravel(), atol=1e-6)


def test_play_runs_through_the_layers_and_reports_where_it_stopped(streamed):
    streamed.get_by_role("button", name="Play").click()
    for layer in (2, 0, 1):
        streamed.wait_for_function("(layer) => view.shown.layer === layer", arg=layer)
    streamed.get_by_role("button", name="Stop").click()
    assert streamed.evaluate("reports.length") == 1
    assert streamed.evaluate("reports[0].layer") == streamed.evaluate("view.state.layer")


def test_where_all_layers_are_too_large_python_sends_one_and_the_rows_of_the_mosaic(page, recording):
    files = recording_files(recording, 0, 0)
    assert files.layers == ()
    open_canvas(page, canvas_payload(recording, VIEW))
    page.evaluate("(photo) => (view.fetchFile = async () => Uint8Array.from(atob(photo), (c) => c.charCodeAt(0)))",
                  base64.b64encode(files.photo).decode())  # fmt: skip
    for layer in (1, 2):
        view = changed(VIEW, layer=layer)
        send(
            page,
            canvas_payload(
                recording, view, files=files, urls={"photo": "photo", "layers": []}, steps=True, mosaic=True
            ),
        )
        np.testing.assert_allclose(shown(page), recording.attention(layer, "mean", "cls").ravel(), atol=1e-6)
        assert page.evaluate("view.recording.layers.map(Boolean)") == [each == layer for each in range(3)]
    assert page.evaluate("view.mosaic.fill('cls')") == [True] * 3
    assert page.get_by_role("radio", name="rollout").is_disabled()


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


def test_tiles_of_the_mosaic_are_as_large_as_a_finger(new_window, recording):
    tab = new_window(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    open_canvas(tab)
    stream(tab, recording, VIEW, mosaic=True)
    wide, high = tab.evaluate("view.mosaic.tile")
    assert min(wide, high) >= 40
    box = tab.locator("[data-part=mosaic]").bounding_box()
    assert box
    tab.touchscreen.tap(box["x"] + 20 + 2.5 * wide, box["y"] + 20 + 1.5 * high)
    tab.wait_for_function("view.state.layer === 2 && view.state.head === 1")
