"""Back and Forward restore every page as it was left: layer, head, query, tab, patch, photo, step and run."""

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Page, expect

from tests.browser.conftest import TINY, settled_box

GRID = 8


def settings(url: str) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(urlsplit(url).query).items()}


def canvas_shows(page: Page, layer: int, head: str, query: str) -> None:
    page.locator(f".live[data-layer='{layer}'][data-head='{head}'][data-query='{query}']").wait_for()


def click_patch(page: Page, row: int, col: int) -> None:
    box = settled_box(page.locator("[data-part=picture]"))
    page.mouse.click(box["x"] + (col + 0.5) * box["width"] / GRID, box["y"] + (row + 0.5) * box["height"] / GRID)


def heading(title: str) -> Callable[[Page], None]:
    return lambda page: page.get_by_role("heading", name=title, exact=True).wait_for()


def attention_first(page: Page) -> None:
    canvas_shows(page, 1, "0", "3,4")


def attention_later(page: Page) -> None:
    canvas_shows(page, 0, "mean", "cls")
    expect(page.get_by_role("tab", name="Numbers")).to_have_attribute("aria-selected", "true")


def plan_step(page: Page) -> None:
    expect(page.get_by_role("tab", name="Runs")).to_have_attribute("aria-selected", "true")


def test_ten_pages_there_and_back_and_there_again(page, app):
    page.goto(f"{app}/attention?model=checkpoints%2F{TINY}&photo=cat")
    canvas_shows(page, 2, "mean", "cls")
    stops: list[tuple[str, dict[str, str], Callable[[Page], None]]] = []

    def leave(title: str, shown: Callable[[Page], None], **expected: str) -> None:
        """Once the address says what is expected, note what the page shows and go on to another by the menu."""
        shown(page)
        page.wait_for_url(lambda url: expected.items() <= settings(url).items())
        stops.append((urlsplit(page.url).path, expected, shown))
        page.get_by_role("link", name=title, exact=True).first.click()

    page.get_by_role("slider", name="Layer", exact=True).press("ArrowLeft")
    canvas_shows(page, 1, "mean", "cls")
    for head in ("max", "min", "0"):
        page.get_by_role("slider", name="Head", exact=True).press("ArrowRight")
        canvas_shows(page, 1, head, "cls")
    click_patch(page, 3, 4)
    leave("Features", attention_first, layer="1", head="0", query="3,4")
    leave("Compare", heading("What the tokens hold"))
    leave("Video", heading("Two models, one photo"))
    leave("Patches", heading("Attention over a clip"))
    leave("Fine-tune", heading("How a photo becomes tokens"))
    page.get_by_role("tab", name="Runs").click()
    leave("Attention", plan_step, step="Runs")
    page.locator(".live[data-layer]").wait_for()
    page.get_by_role("slider", name="Layer", exact=True).press("Home")
    page.get_by_role("slider", name="Head", exact=True).press("Home")
    click_patch(page, 2, 2)
    canvas_shows(page, 0, "mean", "2,2")
    page.get_by_role("tab", name="Numbers").click()
    page.locator("[data-part=picture]").press("Escape")
    leave("Evaluate", attention_later, layer="0", tab="Numbers", query="cls")
    leave("Home", heading("Evaluate"))
    leave("Features", heading("See where a Vision Transformer looks"))
    heading("What the tokens hold")(page)

    def here(path: str, expected: dict[str, str], shown: Callable[[Page], None]) -> None:
        page.wait_for_url(lambda url: urlsplit(url).path == path)
        shown(page)
        page.wait_for_url(lambda url: expected.items() <= settings(url).items())

    for stop in reversed(stops):
        page.go_back()
        here(*stop)
    for stop in stops[1:]:
        page.go_forward()
        here(*stop)


def test_back_brings_the_photo_that_was_shown(page, app):
    page.goto(f"{app}/attention?model=checkpoints%2F{TINY}&photo=coffee")
    canvas_shows(page, 2, "mean", "cls")
    page.get_by_role("link", name="Patches", exact=True).first.click()
    heading("How a photo becomes tokens")(page)
    page.get_by_role("radio", name="Rocket").click()
    page.wait_for_url(lambda url: settings(url).get("photo") == "rocket")
    page.go_back()
    canvas_shows(page, 2, "mean", "cls")
    page.wait_for_url(lambda url: settings(url).get("photo") == "coffee")


def test_the_menu_keeps_a_layer_that_was_chosen_just_before(page, app):
    page.goto(f"{app}/attention?model=checkpoints%2F{TINY}&photo=cat")
    canvas_shows(page, 2, "mean", "cls")
    # The server still answers the first change, and the hand doesn't rest after the second.
    page.get_by_role("slider", name="Layer", exact=True).evaluate("""(slider) => {
      const move = (layer, ...events) => {
        slider.value = layer;
        events.forEach((type) => slider.dispatchEvent(new Event(type)));
      };
      move(1, "input", "change");
      move(0, "input");
    }""")
    page.get_by_role("link", name="Features", exact=True).first.click()
    heading("What the tokens hold")(page)
    page.get_by_role("link", name="Attention", exact=True).first.click()
    canvas_shows(page, 0, "mean", "cls")
