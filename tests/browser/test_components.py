"""Own components on a page of their own, drawn again and cleaned up as Streamlit does it."""

import base64

import plotly.graph_objects as go
import pytest
from playwright.sync_api import Page
from plotly.offline import get_plotlyjs

import explorer
from explorer.cli import main
from explorer.training.curves import write_html
from explorer.ui.components import asset, script
from explorer.ui.components.live_chart import LIBRARY
from explorer.web.payload import canvas_markup, canvas_payload, canvas_script
from tests.tiny import photo, tiny_model
from tests.views import view_of

RANGE = "document.querySelector('.live-chart')._fullLayout?.xaxis.range"


def load(page: Page, module: str) -> None:
    """Import a module as Streamlit does; its default export becomes window.component."""
    page.evaluate(
        """async (module) => {
            const url = URL.createObjectURL(new Blob([module], { type: "text/javascript" }));
            window.component = (await import(url)).default;
        }""",
        module,
    )


def mount(page: Page, html: str, module: str, data: str) -> None:
    """Draw the component; the clean-up that it gives back is window.cleanUp."""
    page.evaluate("(html) => { document.body.innerHTML = `<div id=component>${html}</div>`; }", html)
    load(page, module)
    draw(page, data)


def draw(page: Page, data: str) -> None:
    page.evaluate(f"""() => {{
        const parentElement = document.querySelector("#component");
        window.cleanUp = component({{ data: {data}, parentElement, setStateValue: () => {{}} }});
    }}""")


def line(points: int) -> str:
    figure = go.Figure(go.Scatter(y=list(range(points))), layout={"uirevision": "same"})
    return f"`{figure.to_json()}`"


@pytest.fixture
def chart(page: Page) -> Page:
    load(page, LIBRARY)
    mount(page, '<div class="live-chart" style="height: 380px"></div>', script(asset("live_chart.js")), line(5))
    page.wait_for_function(RANGE)
    return page


@pytest.mark.parametrize("meanwhile", ["overtaken", "another Plotly loaded"])
def test_a_chart_keeps_its_zoom(chart, meanwhile):
    box = chart.locator(".draglayer .nsewdrag").bounding_box()
    assert box
    chart.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.3 * box["height"])
    chart.mouse.down()
    chart.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.7 * box["height"], steps=5)
    chart.mouse.up()
    chart.wait_for_function("document.querySelector('.live-chart')._fullLayout.xaxis.autorange === false")
    zoomed = chart.evaluate(RANGE)
    if meanwhile == "overtaken":
        chart.evaluate("cleanUp()")
    else:  # as Streamlit loads its own for st.plotly_chart
        chart.add_script_tag(content=get_plotlyjs())
    chart.wait_for_timeout(100)
    draw(chart, line(9))
    chart.wait_for_function("document.querySelector('.live-chart').data?.[0].y.length === 9")
    assert chart.evaluate(RANGE) == zoomed


def test_a_charts_toolbar_offers_nothing_that_does_nothing(chart):
    offered = toolbar(chart)
    assert "Zoom" in offered and not {"Box Select", "Lasso Select"} & set(offered)


def toolbar(page: Page) -> list[str]:
    """What the buttons of Plotly's toolbars say."""
    return page.locator(".modebar-btn").evaluate_all("(buttons) => buttons.map((button) => button.dataset.title)")


@pytest.mark.parametrize("place", ["the page", "curves.html", "the chart of all runs"])
def test_no_chart_offers_to_upload_itself(chart, place, tmp_path):
    file = tmp_path / "chart.html"
    if place == "curves.html":
        write_html(file, "a run", [], {"loss": 1, "accuracy": 0, "f1_macro": 0})
    elif place == "the chart of all runs":
        assert main(["runs", "--runs", str(tmp_path), "--chart", str(file)]) == 0
    if file.exists():
        chart.goto(file.as_uri())
        chart.locator(".modebar-btn").first.wait_for(state="attached")
    offered = toolbar(chart)
    assert "Zoom" in offered and "Share chart..." not in offered


def test_a_chart_that_left_the_page_is_ended(chart):
    chart.evaluate("""() => {
        window.gone = document.querySelector(".live-chart");
        gone.remove();
        cleanUp();
    }""")
    chart.wait_for_function("gone._fullLayout === undefined")


def payload() -> str:
    recording = explorer.record(tiny_model(), photo())
    data = base64.b64encode(
        canvas_payload(recording, view_of(image="photo", layer=1, head="mean", query="cls"))
    ).decode()
    return f"Uint8Array.from(atob('{data}'), (c) => c.charCodeAt(0))"


def test_the_live_canvas_goes_on_when_a_call_is_overtaken(page):
    html, css = canvas_markup()
    mount(page, f"<style>{css}</style>{html}", script(canvas_script(), asset("live_canvas.js")), payload())
    picture = page.locator("[data-part=picture]")
    page.locator(".live[data-layer]").wait_for()
    page.evaluate("cleanUp()")
    page.wait_for_timeout(100)
    box = picture.bounding_box()
    assert box
    page.mouse.move(box["x"] + 0.55 * box["width"], box["y"] + 0.55 * box["height"])
    page.wait_for_function("document.querySelector('[data-part=readout]').textContent.includes('4, 4')")
