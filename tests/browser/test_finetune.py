"""The Fine-tune page on the real server: upload, start, watch, reload, stop, look at the result, queue."""

import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from explorer.models.source import ModelSource
from explorer.training.plan import Plan
from explorer.training.runs import jobs
from explorer.training.runs.folder import RunFolder, State, create_run, new_options, read_config
from tests.browser.conftest import TINY
from tests.browser.server import running_app
from tests.digits import digits_zip
from tests.zips import pictures, write_zip

TRAINING = 180_000  # ms that a trainer may take to start and to finish an epoch on a busy machine
LINK = f"/finetune?model=checkpoints%2F{TINY}"
LINES = """(name) => {
    const charts = [...document.querySelectorAll(".js-plotly-plot")].filter((chart) => chart.data);
    return charts.map((chart) => chart.data.find((line) => line.name === name)?.y.length ?? 0);
}"""

LEGENDS = """() => {  // where each chart's toolbar ends and its legend begins, read between two redraws
    const box = (chart, part) => chart.querySelector(part)?.getBoundingClientRect() ?? { height: 0 };
    const charts = [...document.querySelectorAll(".live-chart")];
    const boxes = charts.map((chart) => [box(chart, ".modebar"), box(chart, ".legend")]);
    return boxes.flat().every(({ height }) => height) && boxes.map(([bar, legend]) => [bar.bottom, legend.top]);
}"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return digits_zip(tmp_path / "digits.zip")


def start_run(page: Page, app: str, data: Path, name: str, epochs: int = 1000) -> None:
    """From the empty page to a run of the last blocks, which by default would go on for long."""
    page.goto(app + LINK)
    page.locator("[data-testid=stMain] input[type=file]").set_input_files(data)
    expect(page.get_by_text("48", exact=True)).to_be_visible()
    page.get_by_role("button", name="Plan the training").click()
    page.get_by_text("Last blocks").click()
    expect(page.get_by_text("Blocks to train")).to_be_visible()
    expect(page.get_by_label("Name of the new model")).to_have_value(re.compile("digits-last-2"))
    for label, value in (("Epochs", str(epochs)), ("Name of the new model", name)):
        field = page.get_by_label(label, exact=True)
        field.fill(value)
        field.press("Enter")
    expect(page.get_by_text("before the first epoch")).to_be_visible()
    page.get_by_role("button", name="Start training").click()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()


def wait_for_epochs(page: Page, loss: int, accuracy: int) -> None:
    """Until both charts' validation lines have at least so many points, the baseline among them."""
    grown = f"""() => {{
        const length = {LINES};
        return length("validation")[0] >= {loss} && length("accuracy, validation")[1] >= {accuracy};
    }}"""
    page.wait_for_function(grown, timeout=TRAINING)


def epochs_shown(page: Page) -> int:
    return page.evaluate(f'({LINES})("validation")[0]')


def test_curves_grow_in_place_survive_a_reload_and_end_in_attention(page, app, app_folder, data):
    start_run(page, app, data, "grow")
    expect(page.get_by_text("Untrained classifier")).to_be_visible(timeout=TRAINING)
    wait_for_epochs(page, 3, 3)
    expect(
        page.get_by_text(re.compile(r"Training, epoch \d+ of 1000 · [\d,]+ images per second · .+ left"))
    ).to_be_visible()

    for toolbar, legend in page.wait_for_function(LEGENDS).json_value():
        assert toolbar < legend
    page.locator(".live-chart").first.scroll_into_view_if_needed()
    page.evaluate("""() => {
        const chart = document.querySelector(".js-plotly-plot");
        chart.marked = true;
        const wide = chart._fullLayout._size, box = chart.getBoundingClientRect();
        window.plot = [box.left + wide.l, box.top + wide.t, wide.w, wide.h];
    }""")
    left, top, width, height = page.evaluate("window.plot")
    page.mouse.move(left + 0.2 * width, top + 0.3 * height)
    page.mouse.down()
    page.mouse.move(left + 0.6 * width, top + 0.7 * height, steps=5)
    page.mouse.up()
    page.wait_for_function("document.querySelector('.js-plotly-plot')._fullLayout.xaxis.autorange === false")
    zoomed = "document.querySelector('.js-plotly-plot')._fullLayout.xaxis.range"
    view, seen = page.evaluate(zoomed), epochs_shown(page)
    wait_for_epochs(page, seen + 3, seen + 3)
    assert page.evaluate(zoomed) == view, "the zoom is kept"
    assert page.evaluate("document.querySelector('.js-plotly-plot').marked"), "the chart is the same element"

    seen = epochs_shown(page)
    page.reload()
    wait_for_epochs(page, seen, seen)
    with running_app(app_folder) as restarted:
        page.goto(page.url.replace(app, restarted.url))
        wait_for_epochs(page, seen, seen)
        page.get_by_role("button", name="Stop").click()
        expect(page.get_by_text("the best so far is kept")).to_be_visible(timeout=TRAINING)
    page.goto(f"{app}/finetune?step=Train&run=grow")
    page.get_by_role("button", name="See the result").click()
    expect(page.get_by_role("heading", name="Attention before and after")).to_be_visible()
    expect(page.get_by_text("one", exact=True).first).to_be_visible()
    page.get_by_role("button", name="Open in Attention").click()
    page.wait_for_url(re.compile("/attention"))
    page.locator(".live[data-layer]").wait_for()
    expect(page.get_by_role("combobox", name=re.compile("Model"))).to_have_value("grow")


def test_of_two_sessions_the_second_waits_in_line(page, new_window, app, app_folder, data):
    second_page = new_window()  # another person's
    start_run(page, app, data, "first")
    wait_for_epochs(page, 2, 2)
    start_run(second_page, app, data, "second")
    expect(second_page.get_by_text("Waiting in line, place 1")).to_be_visible(timeout=TRAINING)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("the best so far is kept")).to_be_visible(timeout=TRAINING)
    wait_for_epochs(second_page, 2, 2)
    second_page.get_by_role("button", name="Stop").click()
    expect(second_page.get_by_text("the best so far is kept")).to_be_visible(timeout=TRAINING)
    for name in ("first", "second"):
        assert RunFolder(app_folder / "runs" / name).read_state().status == "stopped"


def wait_until(reached: Callable[[], bool]) -> None:
    end = time.monotonic() + TRAINING / 1000
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_killed_run_is_resumed_by_a_click_to_the_unbroken_result(page, app, app_folder, data, monkeypatch):
    folder, epochs = RunFolder(app_folder / "runs" / "killed"), 80
    start_run(page, app, data, folder.name, epochs)
    wait_until(lambda: folder.read_state().epoch >= 2)
    os.kill(folder.read_state().pid or 0, signal.SIGKILL)
    expect(
        page.get_by_text(re.compile(r"Interrupted after epoch \d+ of 80\. The training process is gone"))
    ).to_be_visible()
    assert 2 <= folder.read_state().epoch < epochs
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("Finished after epoch 80 of 80.")).to_be_visible(timeout=TRAINING)
    wait_for_epochs(page, epochs + 1, epochs + 1)
    assert epochs_shown(page) == epochs + 1, "no epoch is drawn twice"
    page.get_by_role("button", name="See the result").click()
    expect(page.get_by_role("heading", name="Attention before and after")).to_be_visible()

    for name in ("CHECKPOINTS", "QUEUE"):
        monkeypatch.setenv(f"EXPLORER_{name}", str(app_folder / name.lower()))
    options, plan = read_config(folder)
    whole = jobs.start(options.data, options.model, plan, "unbroken", app_folder / "runs")
    wait_until(lambda: not whole.read_state().active)
    assert json.loads(folder.metrics.read_text()) == json.loads(whole.metrics.read_text())
    assert folder.best.read_bytes() == whole.best.read_bytes()


def test_a_hostile_zip_is_one_sentence_and_the_page_goes_on(page, app, data, tmp_path):
    evil = write_zip(tmp_path / "evil.zip", {**pictures({"ants": 2, "bees": 2}), "../../outside.png": b"x"})
    page.goto(app + LINK)
    page.locator("[data-testid=stMain] input[type=file]").set_input_files(evil)
    expect(page.get_by_text("leads out of the zip")).to_be_visible()
    page.locator("[data-testid=stMain] input[type=file]").set_input_files(data)
    expect(page.get_by_role("heading", name="digits.zip")).to_be_visible()
    expect(page.get_by_text("leads out of the zip")).to_have_count(0)
    page.reload()
    expect(page.get_by_role("heading", name="digits.zip")).to_be_visible()


def test_a_double_click_on_delete_deletes_one_run(page, app, app_folder):
    for name in ("double-a", "double-b"):
        run = RunFolder(app_folder / "runs" / name)
        if not run.path.exists():  # as after an attempt that failed
            create_run(run, new_options(run, "digits", ModelSource(f"checkpoints/{TINY}")), Plan(epochs=2).resolved())
        run.write_state(State("stopped", epoch=1, epochs=2))
    page.set_viewport_size({"width": 1400, "height": 1400})  # below the runs of other tests, too, there is room for it
    page.goto(f"{app}{LINK}&step=Runs")
    page.get_by_role("button", name="Delete a run").click()
    page.get_by_role("combobox", name="Run to delete").click()
    page.get_by_role("option", name="double-a", exact=True).click()
    page.get_by_role("button", name="Delete", exact=True).dblclick()
    expect(page.get_by_role("button", name="Delete", exact=True)).to_have_count(0)
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    assert not (app_folder / "runs" / "double-a").exists() and (app_folder / "runs" / "double-b").is_dir()
