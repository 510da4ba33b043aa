"""Home and the sidebar on the real server: the first picture, hovering, photos of one's own, links, keys and themes."""

import io
import re
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Locator, Page, expect

from tests.browser.conftest import PATIENCE, TINY, drawn_weights, settled_box
from tests.browser.server import FLAGS, chromium_path, running_app

NOTE_THE_SIZE_SENT = """
const send = XMLHttpRequest.prototype.send;
XMLHttpRequest.prototype.send = function (body) {
    if (body instanceof FormData)
        for (const part of body.values())
            if (part instanceof Blob)
                createImageBitmap(part).then((photo) => (window.sent = [photo.width, photo.height]));
    return send.call(this, body);
};
"""
LINK = f"/?model=checkpoints%2F{TINY}"


def photo_file(name: str, color: str = "teal", size: tuple[int, int] = (120, 90)) -> FilePayload:
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, "PNG")
    return FilePayload(name=name, mimeType="image/png", buffer=file.getvalue())


def open_home(page: Page, app: str, link: str = LINK) -> Locator:
    """The drawn hero."""
    page.goto(app + link)
    hero = page.locator(".live[data-layer]")
    hero.wait_for()
    expect(page.get_by_text("Where next", exact=True)).to_be_visible()
    return hero


def thumbnail(page: Page, name: str) -> Locator:
    return page.locator(".strip").get_by_role("radio", name=name, exact=True)


def wait_for_change(canvas: Locator, before: str) -> None:
    """Until the canvas shows something else than the data URL before."""
    end = time.monotonic() + PATIENCE / 1000
    while canvas.evaluate("(canvas) => canvas.toDataURL()") == before:
        assert time.monotonic() < end, "the picture stays as it is"
        canvas.page.wait_for_timeout(50)


def test_every_kind_of_file_gets_the_apps_own_sentence(page: Page, app: str):
    open_home(page, app)
    for name in ("notes.doc", "phone.heic", "archive.zip"):
        drop(page, FilePayload(name=name, mimeType="application/octet-stream", buffer=b"no picture at all"))
        alert = page.get_by_role("alert").filter(has_text=f"'{name}' isn't an image")
        expect(alert).to_contain_text("JPEG, PNG, WebP")
    expect(thumbnail(page, "Cat")).to_have_attribute("aria-checked", "true")


def test_many_photos_leave_the_model_picker_in_sight(page: Page, app: str):
    open_home(page, app)
    drop(page, *(photo_file(f"{number}.png", f"hsl({number * 9}, 80%, 50%)", (30, 30)) for number in range(40)))
    newest = thumbnail(page, "39.png")
    expect(newest).to_have_attribute("aria-checked", "true")
    strip, box = settled_box(page.locator(".strip")), newest.bounding_box()
    assert box and strip["y"] <= box["y"] and box["y"] + box["height"] <= strip["y"] + strip["height"]
    picker = page.get_by_role("combobox", name="Model").bounding_box()
    assert picker and picker["y"] < 700


def test_the_camera_takes_photos_one_after_another(browser: Browser, app: str):
    flags = [*FLAGS, "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with_camera = browser.browser_type.launch(executable_path=chromium_path(), args=flags)
    page = with_camera.new_page(viewport={"width": 1400, "height": 1000})
    page.set_default_timeout(PATIENCE)
    page.add_init_script(NOTE_THE_SIZE_SENT)
    picture = open_home(page, app).locator("[data-part=picture]")
    page.get_by_test_id("stSidebar").get_by_text("Camera", exact=True).click()
    for number in (1, 2):
        before = picture.evaluate("(canvas) => canvas.toDataURL()")
        # The button can be pressed a moment before the camera's first frame, and then does nothing. The camera starts
        # anew for every photo, with the same frames: the second waits for a later one.
        page.wait_for_function(f"() => document.querySelector('video')?.currentTime > {2 * (number - 1)}")
        page.get_by_role("button", name="Take Photo").click()
        expect(thumbnail(page, f"camera-{number}.jpg")).to_have_attribute("aria-checked", "true")
        wait_for_change(picture, before)
        assert page.evaluate("window.sent") == [1280, 720]
    with_camera.close()


def drop(page: Page, *files: FilePayload) -> None:
    page.locator('[data-testid="stSidebar"] input[type=file]').first.set_input_files(list(files))


def test_a_photo_with_its_attention_and_one_line_on_what_to_do(page: Page, app: str):
    hero = open_home(page, app)
    expect(page.get_by_role("heading", name="See where a Vision Transformer looks")).to_be_visible()
    expect(page.get_by_text("A Vision Transformer cuts the photo into squares")).to_be_visible()
    box = hero.locator("[data-part=picture]").bounding_box()
    assert box and box["y"] + box["height"] / 2 < 1000, "the picture is seen without scrolling"
    assert box["width"] > 400
    assert hero.locator(".look").first.is_hidden() and hero.locator(".query").is_hidden()
    for fact in ("8 px", "8 × 8", "67", "3"):
        expect(page.locator("dd").get_by_text(fact, exact=True)).to_be_visible()


def test_moving_over_the_photo_asks_that_patch_and_a_click_pins_it(page: Page, app: str):
    hero = open_home(page, app)
    picture = hero.locator("[data-part=picture]")
    before = picture.evaluate("(canvas) => canvas.toDataURL()")
    box = settled_box(picture)
    page.mouse.move(box["x"] + box["width"] * 5.5 / 8, box["y"] + box["height"] * 2.5 / 8)
    expect(hero.locator("[data-part=readout]")).to_have_text(re.compile(r"^patch \(2, 5\)"))
    assert picture.evaluate("(canvas) => canvas.toDataURL()") != before
    weights = drawn_weights(hero)
    row, col = divmod(int(weights.argmax()), 8)
    place = "itself" if (row, col) == (2, 5) else f"row {row}, column {col}"
    words = f"This patch, row 2, column 5, gives {place} the most, {100 * weights.max():.2g} % of its attention"
    expect(page.locator("[data-part=words]")).to_contain_text(words)
    page.mouse.down()
    page.mouse.up()
    page.mouse.move(5, 5)
    expect(hero).to_have_attribute("data-query", "2,5")


def test_a_pinned_patch_is_the_query_of_the_attention_page_and_of_the_link(page: Page, app: str, new_window):
    hero = open_home(page, app)
    picture = hero.locator("[data-part=picture]")
    box = settled_box(picture)
    page.mouse.click(box["x"] + box["width"] * 5.5 / 8, box["y"] + box["height"] * 2.5 / 8)
    page.wait_for_url(re.compile(r"query=2(,|%2C)5"))
    other = new_window()
    open_home(other, page.url, "")
    expect(other.locator(".live")).to_have_attribute("data-query", "2,5")
    page.get_by_role("link", name="Where it looks").click()
    expect(page.get_by_role("heading", name="Where every token looks")).to_be_visible()
    expect(page.locator(".live[data-layer]")).to_have_attribute("data-query", "2,5")


def test_layer_and_head_are_chosen_on_home_too_and_go_along(page: Page, app: str):
    hero = open_home(page, app)
    page.get_by_role("slider", name="Layer", exact=True).press("Home")
    expect(hero).to_have_attribute("data-layer", "0")
    hero.get_by_role("radio", name="head 3", exact=True).click()
    page.wait_for_url(lambda url: "layer=0" in url and "head=3" in url)
    page.get_by_role("link", name="Where it looks").click()
    expect(page.get_by_role("heading", name="Where every token looks")).to_be_visible()
    shown = page.locator(".live[data-layer]")
    expect(shown).to_have_attribute("data-layer", "0")
    expect(shown).to_have_attribute("data-head", "3")


def test_a_new_server_shows_a_live_picture_before_it_has_the_model(page: Page, app_folder: Path, tmp_path: Path):
    with running_app(app_folder, HF_HOME=str(tmp_path)) as server:
        page.goto(server.url, wait_until="commit")
        first = page.frame_locator("#first-picture").locator(".live[data-layer]")
        first.locator("[data-part=picture]").hover()
        expect(first).not_to_have_attribute("data-query", "cls")
        page.mouse.move(5, 5)
        expect(first).to_have_attribute("data-query", "cls")
        shipped, hero = drawn_weights(first), page.locator(".live[data-layer]")
        expect(hero).to_be_visible(timeout=3 * PATIENCE)
        expect(page.locator("#first-picture")).to_have_count(0)
        # Importing PyTorch is most of it.
        expect(page.get_by_text("are loading in the background")).to_have_count(0, timeout=3 * PATIENCE)
        np.testing.assert_allclose(drawn_weights(hero), shipped, atol=1e-4)
        before = hero.locator("[data-part=picture]").evaluate("(canvas) => canvas.toDataURL()")
        thumbnail(page, "Coffee").click()
        wait_for_change(hero.locator("[data-part=picture]"), before)


def test_a_word_of_the_field_opens_its_meaning_by_keyboard(page: Page, app: str):
    open_home(page, app)
    word = page.get_by_role("button", name="patches", exact=True)
    meaning = page.get_by_role("note").filter(has_text="A small square of the photo.")
    expect(meaning).to_be_hidden()
    word.focus()
    page.keyboard.press("Enter")
    expect(meaning).to_be_visible()
    page.keyboard.press("Escape")
    expect(meaning).to_be_hidden()


def test_a_dropped_photo_is_shown_beside_the_samples_and_can_be_cleared(page: Page, app: str):
    hero = open_home(page, app)
    before = hero.locator("[data-part=picture]").evaluate("(canvas) => canvas.toDataURL()")
    drop(page, photo_file("one.png"), photo_file("two.png", "gold"))
    expect(thumbnail(page, "two.png")).to_have_attribute("aria-checked", "true")
    wait_for_change(hero.locator("[data-part=picture]"), before)
    expect(thumbnail(page, "one.png")).to_have_attribute("aria-checked", "false")
    thumbnail(page, "one.png").click()
    expect(thumbnail(page, "one.png")).to_have_attribute("aria-checked", "true")
    page.get_by_role("button", name="Clear my photos").click()
    expect(thumbnail(page, "Cat")).to_have_attribute("aria-checked", "true")
    expect(thumbnail(page, "one.png")).to_have_count(0)


def test_a_broken_photo_gets_a_sentence_and_the_picture_stays(page: Page, app: str):
    hero = open_home(page, app)
    before = hero.locator("[data-part=picture]").evaluate("(canvas) => canvas.toDataURL()")
    drop(page, FilePayload(name="broken.png", mimeType="image/png", buffer=photo_file("whole.png")["buffer"][:40]))
    expect(page.get_by_role("alert").filter(has_text="'broken.png'")).to_be_visible()
    hero = page.locator(".live[data-layer]")
    assert hero.locator("[data-part=picture]").evaluate("(canvas) => canvas.toDataURL()") == before


def test_a_copied_link_opens_the_same_photo_size_and_fit_on_every_page(page: Page, app: str, new_window):
    open_home(page, app)
    thumbnail(page, "Coffee").click()
    page.get_by_role("radio", name="Squash").click()
    slider = page.get_by_role("slider", name="Input size")
    slider.press("ArrowRight")
    page.wait_for_url(re.compile(r"photo=coffee"))
    page.wait_for_url(re.compile(r"fit=squash"))
    page.wait_for_url(re.compile(r"size=72"))
    page.get_by_test_id("stTopNavLink").filter(has_text="Patches").click()
    page.wait_for_url(re.compile(r"/patches\?.*photo=coffee"))
    expect(page.locator(".shape").first).to_have_text(re.compile("^72 height"))

    other = new_window()
    other.goto(page.url)
    expect(other.locator(".shape").first).to_have_text(re.compile("^72 height"))
    expect(thumbnail(other, "Coffee")).to_have_attribute("aria-checked", "true")
    other.wait_for_url(lambda url: url.split("?")[1] == page.url.split("?")[1])


def test_a_link_with_impossible_settings_says_so_and_shows_the_defaults(page: Page, app: str):
    open_home(page, app, LINK + "&photo=unicorn&size=99999&fit=bend")
    for wanted in ("unicorn", "99999", "bend"):
        expect(page.get_by_role("alert").filter(has_text=wanted)).to_be_visible()
    expect(page.locator("dd").get_by_text("8 × 8", exact=True)).to_be_visible()


def test_thumbnails_follow_the_arrow_keys(page: Page, app: str):
    open_home(page, app)
    thumbnail(page, "Cat").focus()
    page.keyboard.press("ArrowRight")
    expect(thumbnail(page, "Astronaut")).to_have_attribute("aria-checked", "true")
    expect(thumbnail(page, "Astronaut")).to_be_focused()
    page.wait_for_url(re.compile(r"photo=astronaut"))


def test_an_unknown_model_typed_in_gets_a_sentence_and_the_model_in_use_stays(page: Page, app: str):
    open_home(page, app)
    box = page.locator('[data-testid="stSidebar"] [data-testid="stSelectbox"] input')
    box.click()
    box.fill("someone/never-heard-of")
    box.press("Enter")
    expect(page.get_by_role("alert").filter(has_text="someone/never-heard-of")).to_be_visible()
    expect(page.get_by_role("heading", name=TINY)).to_be_visible()
    page.wait_for_url(re.compile(rf"model=(checkpoints(%2F|/))?{TINY}"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_theme_follows_the_system(new_window, app: str, scheme):
    tab = new_window(viewport={"width": 420, "height": 900}, color_scheme=scheme)
    tab.goto(app + LINK)
    tab.locator(".live[data-layer]").wait_for()
    background, ink = tab.evaluate(
        """() => {
            const light = (color) => color.match(/\\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0) / 3;
            const app = getComputedStyle(document.querySelector("[data-testid=stApp]"));
            return [light(app.backgroundColor), light(app.color)];
        }"""
    )
    assert (background > 200 and ink < 60) if scheme == "light" else (background < 40 and ink > 200)
    overflow = tab.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth - window.innerWidth")
    assert overflow <= 0, "nothing sticks out on a phone"
