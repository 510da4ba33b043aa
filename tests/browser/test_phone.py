"""At 390 px with a finger, at 1,024 px, and by keyboard: nothing is covered or too small, and the focus is seen."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import TINY, settled_box

MODEL = f"model=checkpoints%2F{TINY}"
FINGER = 40  # px
# Everything that can be tapped and is shown, with the size of what reacts: a label belongs to its switch, and the small
# question marks and sliders' knobs have a larger area around them (their ::after).
TOO_SMALL = """(least) => {
  const found = [];
  const look = (root) => {
    for (const each of root.querySelectorAll("*")) if (each.shadowRoot) look(each.shadowRoot);
    const wanted = "button, a[href], summary, [role=tab], [role=radio], label:has(input), input[type=range]";
    for (const each of root.querySelectorAll(wanted)) {
      const box = each.getBoundingClientRect();
      if (box.width < 2 || box.height < 2 || !each.checkVisibility({ visibilityProperty: true })) continue;
      if (each.matches("[data-testid=stSkipToContent]") || each.closest("[inert]")) continue;
      if (each.matches("label:has(input[type=range])")) continue;
      const around = parseFloat(getComputedStyle(each, "::after").top) || 0;
      const knob = each.matches("input[type=range]") && each.closest("[data-testid=stSlider]");
      if (!knob && box.height - 2 * Math.min(0, around) < least)
        found.push(`${each.tagName} ${each.dataset.testid ?? ""} ${each.ariaLabel ?? each.textContent}: ${box.height}`);
    }
  };
  look(document);
  return found;
}"""
RING = """() => {
  let focused = document.activeElement;
  while (focused.shadowRoot?.activeElement) focused = focused.shadowRoot.activeElement;
  if (focused === document.body || focused.matches("main")) return "nothing";
  for (let each = focused, up = 0; each && up < 6; each = each.parentElement, up++) {
    const style = getComputedStyle(each);
    if (style.outlineStyle === "solid" && parseFloat(style.outlineWidth) >= 3) return "ring";
  }
  return `${focused.tagName} ${focused.dataset.testid ?? ""} ${focused.ariaLabel ?? focused.textContent}`;
}"""


@pytest.fixture
def phone(new_window) -> Page:
    """A window of 390 x 844 that is touched."""
    return new_window(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)


def sidebar_is(page: Page, collapsed: bool) -> None:
    expect(page.get_by_test_id("stSidebar")).to_have_attribute("data-collapsed", str(collapsed).lower())


def too_small(page: Page) -> list[str]:
    """What can be tapped and is too small, once the page's styles have had time to come."""
    for _ in range(20):
        found = page.evaluate(TOO_SMALL, FINGER)
        if not found:
            break
        page.wait_for_timeout(500)
    return found


def open_page(page: Page, app: str, path: str = "") -> None:
    page.goto(f"{app}/{path}{'&' if '?' in path else '?'}{MODEL}")
    page.locator(".live[data-layer]").first.wait_for()


def test_the_sidebar_closes_after_a_page_or_a_photo_and_starts_closed(phone: Page, app: str):
    open_page(phone, app)
    sidebar_is(phone, collapsed=True)
    phone.get_by_role("button", name="Expand sidebar").tap()
    sidebar_is(phone, collapsed=False)
    phone.locator('.strip button[aria-label="Coffee"]').tap()
    sidebar_is(phone, collapsed=True)
    phone.wait_for_url("**photo=coffee**")
    phone.get_by_role("button", name="Expand sidebar").tap()
    phone.get_by_test_id("stSidebarNavLink").filter(has_text="Attention").tap()
    phone.wait_for_url("**/attention**")
    sidebar_is(phone, collapsed=True)

    phone.get_by_role("button", name="Expand sidebar").tap()
    sidebar_is(phone, collapsed=False)
    phone.reload()
    phone.locator(".live[data-layer]").wait_for()
    sidebar_is(phone, collapsed=True)


@pytest.mark.parametrize("path", ["", "attention", "attention?tab=Numbers", "attention?tab=Share"])
def test_targets_are_large_enough_for_a_finger_and_no_word_is_about_a_mouse(phone: Page, app: str, path: str):
    open_page(phone, app, path)
    sidebar_is(phone, collapsed=True)
    phone.wait_for_timeout(1500)
    assert too_small(phone) == []
    shown = phone.locator("[data-testid=stMain]").inner_text()
    assert not [word for word in ("mouse", "Esc", "Shift", "arrow key") if word in shown]
    assert phone.locator("[data-testid=stElementToolbar]:visible").count() == 0
    overflow = phone.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth - window.innerWidth")
    assert overflow <= 0


def test_targets_in_the_open_sidebar_are_large_enough(phone: Page, app: str):
    open_page(phone, app)
    phone.get_by_role("button", name="Expand sidebar").tap()
    sidebar_is(phone, collapsed=False)
    assert too_small(phone) == []


def test_a_second_tap_lets_go(phone: Page, app: str):
    open_page(phone, app, "attention")
    box = settled_box(phone.locator("[data-part=picture]"))
    at = box["x"] + 2.5 / 8 * box["width"], box["y"] + 1.5 / 8 * box["height"]
    phone.touchscreen.tap(*at)
    phone.locator('.live[data-query="1,2"]').wait_for()
    phone.wait_for_url("**query=1%2C2**")
    phone.touchscreen.tap(*at)
    phone.locator('.live[data-query="cls"]').wait_for()


def test_all_pages_fit_the_menu_of_a_small_laptop(new_window, app: str):
    page = new_window(viewport={"width": 1024, "height": 768})
    open_page(page, app)
    expect(page.get_by_test_id("stTopNavLink")).to_have_count(9)
    expect(page.get_by_test_id("stTopNavLink").last).to_be_visible()
    expect(page.get_by_text("1 more")).to_have_count(0)


@pytest.mark.parametrize("path", ["", "attention"])
def test_the_focus_has_a_ring_everywhere(page: Page, app: str, path: str):
    open_page(page, app, path)
    page.wait_for_timeout(1000)
    seen = []
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(RING))
        if seen[-1] == "nothing" and seen.count("ring") > 25:
            break
    assert [each for each in seen if each not in ("ring", "nothing")] == []
    assert seen.count("ring") > 20


def test_a_click_on_the_words_of_a_card_opens_its_page(page: Page, app: str):
    open_page(page, app)
    words = settled_box(page.get_by_text("How a photo becomes tokens, step by step."))
    page.mouse.click(words["x"] + words["width"] / 2, words["y"] + words["height"] / 2)  # the link lies over the words
    page.wait_for_url("**/patches**")
