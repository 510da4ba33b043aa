"""How quick and how small the app is, in a real browser: `python -m benchmarks.app` prints a table.

Cold start to a live picture, on Home and on Attention; layer slider to new picture; mouse to redraw, with the mosaic of
every layer and head on screen too; what streaming the layers costs, and what a second visit sends; the server's memory
with ViT-S/8 at 480 px, and its growth over many photos. --quick tries everything on few and small photos.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import psutil
import timm
import torch
from PIL import Image
from playwright.sync_api import Browser, Page, Request, sync_playwright
from timm.models import save_for_hf

from tests.browser.server import FLAGS, KEEP_DRAWN, Server, chromium_path, running_app

BIG, SMALLER = "vit_small_patch8", "vit_small_patch16"  # random weights, in the server's checkpoints folder
ARCHITECTURES = {BIG: "vit_small_patch8_224.dino", SMALLER: "vit_small_patch16_224"}
# What a canvas has to hold: steps of a layer, hovering with the mosaic on screen; median and 95 %, in ms.
MODELS = {
    "bundled model": ("bundled", "16 ms (95 %: 33 ms)", "16 ms"),
    "ViT-S/16": (f"checkpoints/{SMALLER}", "16 ms (95 %: 33 ms)", "16 ms"),
    "ViT-S/8": (f"checkpoints/{BIG}", "33 ms (95 %: 60 ms)", "40 ms"),
}
COMPLETE = '.live[data-complete="true"]'  # the canvas, once it has every layer
LONG_TASKS = """() => {
    window.longest = 0;
    new PerformanceObserver((list) => {
        for (const { duration } of list.getEntries()) window.longest = Math.max(window.longest, duration);
    }).observe({ type: "longtask" });
}"""
WATCH = """(root) => {
    const times = (root.times = []);
    let asked = 0;
    const name = (shown) => `${shown.layer} ${shown.query}`;
    let last = name(root.drawn);
    for (const type of ["keydown", "pointermove"])
        window.addEventListener(type, () => (asked ||= performance.now()), { capture: true });
    root.addEventListener("drawn", ({ detail }) => {
        if (asked && name(detail) !== last) times.push(performance.now() - asked), (asked = 0);
        last = name(detail);
    });
}"""
FIRST_WEIGHTS = "(root) => root.drawn?.weights.slice(0, 8).join()"


def open_attention(browser: Browser, server: Server, model: str, size: int, **link: str) -> Page:
    """The Attention page with the canvas drawn and every layer there, if it gets them."""
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.set_default_timeout(300_000)
    page.add_init_script(KEEP_DRAWN)
    page.goto(f"{server.url}/attention?{urlencode({'model': model, 'size': size, 'photo': 'astronaut', **link})}")
    page.locator(".live[data-layer]").wait_for()
    page.wait_for_timeout(2000)  # the rest of the page
    return page


def cold_start(browser: Browser, folder: Path, path: str = "") -> list[float]:
    """Seconds from the command to a picture of the bundled model that follows the mouse: the first, and the page's own.

    On Home the first is in a frame of its own, before Streamlit has come up.
    """
    begin, seconds = time.perf_counter(), []
    with running_app(folder, HF_HOME=str(folder / "no-models")) as server:
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(120_000)
        page.goto(f"{server.url}/{path}", wait_until="commit")
        for place in (page, page) if path else (page.frame_locator("#first-picture"), page):
            place.locator(".live[data-layer]").wait_for()
            place.locator("[data-part=picture]").hover()
            place.locator('.live:not([data-query="cls"])').wait_for()
            seconds.append(time.perf_counter() - begin)
        page.close()
    return seconds


def slider_times(page: Page, presses: int) -> list[float]:
    """Milliseconds from a key on the layer slider to the new layer's picture."""
    canvas, slider = page.locator(COMPLETE), page.get_by_role("slider", name="Layer", exact=True)
    canvas.evaluate(WATCH)
    for press in range(presses):
        layer = canvas.get_attribute("data-layer")
        slider.press("ArrowLeft" if press % 12 < 6 else "ArrowRight")
        page.locator(f'.live:not([data-layer="{layer}"])').wait_for()
        page.wait_for_timeout(500 if press % 4 == 3 else 30)  # as a hand that rests now and then, and Python hears
    return canvas.evaluate("(root) => root.times")


def hover_times(page: Page, moves: int) -> list[float]:
    """Milliseconds from a mouse move to the picture of the patch under the mouse."""
    canvas = page.locator(".live[data-layer]")
    box = page.locator("[data-part=picture]").bounding_box()
    assert box
    canvas.evaluate(WATCH)
    for x, y in np.random.default_rng(0).uniform(0.02, 0.98, (moves, 2)):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        page.wait_for_timeout(30)
    return canvas.evaluate("(root) => root.times")


def pick_photo(page: Page, name: str) -> None:
    """Click a sample photo's thumbnail and wait until the canvas has its every layer."""
    before = page.locator(".live[data-layer]").evaluate(FIRST_WEIGHTS)
    page.locator(f'.strip button[aria-label="{name}"]').click()
    wait_for_other(page, before, "root.dataset.complete === 'true'")


def wait_for_other(page: Page, before: str, and_also: str = "true") -> None:
    """Until the canvas shows other weights than before."""
    page.wait_for_function(
        "(before) => [...document.querySelectorAll('[data-testid=stBidiComponentIsolated]')]"
        ".map((host) => host.shadowRoot.querySelector('.live')).filter(Boolean)"
        f".some((root) => ({FIRST_WEIGHTS})(root) !== before && {and_also})",
        arg=before,
    )


def streaming(page: Page) -> float:
    """The longest that the main thread was busy at once, in ms, while another photo's layers came; 0: below 50."""
    page.evaluate(LONG_TASKS)
    pick_photo(page, "Coffee")
    page.wait_for_timeout(500)
    return page.evaluate("window.longest")


def second_visit(page: Page) -> tuple[float, float]:
    """Megabytes of photo and layers that a visit fetched, and those that coming back and a reload fetched again."""
    fetched: list[float] = []
    page.on("requestfinished", lambda request: _add_size(fetched, request))
    _settled(page, fetched)  # what is left of the photo before
    fetched.clear()
    pick_photo(page, "Rocket")
    first = _settled(page, fetched)
    pick_photo(page, "Coffee")
    pick_photo(page, "Rocket")
    page.reload()
    page.locator(COMPLETE).wait_for()
    return first, _settled(page, fetched) - first


def _settled(page: Page, fetched: list[float]) -> float:
    """All of them, once no more come: Playwright hears of files later than the canvas has them."""
    known = -1
    while known != len(fetched):
        known = len(fetched)
        page.wait_for_timeout(2000)
    return sum(fetched)


def _add_size(fetched: list[float], request: Request) -> None:
    if request.url.endswith(".zip"):
        fetched.append(request.sizes()["responseBodySize"] / 1e6)


def memory(server: Server) -> float:
    """Resident megabytes of the server."""
    return psutil.Process(server.pid).memory_info().rss / 1e6


def drop_photos(page: Page, server: Server, count: int, folder: Path) -> list[float]:
    """Drop photo after photo; megabytes of the server after each."""
    canvas, sizes = page.locator(".live[data-layer]"), []
    for index in range(count):
        photo = folder / f"photo-{index}.png"
        noise = np.random.default_rng(index).integers(0, 256, (24, 32, 3), np.uint8)
        Image.fromarray(noise).resize((1200, 900), Image.Resampling.BICUBIC).save(photo)
        before = canvas.evaluate(FIRST_WEIGHTS)
        page.locator("input[type=file]").first.set_input_files(photo)
        wait_for_other(page, before)
        page.wait_for_timeout(300)
        sizes.append(memory(server))
    return sizes


def median(times: list[float]) -> str:
    """ "12 ms (95 %: 20 ms, n = 40)"."""
    high = float(np.percentile(times, 95))
    return f"{statistics.median(times):.0f} ms (95 %: {high:.0f} ms, n = {len(times)})"


def save_models(folder: Path) -> None:
    torch.manual_seed(0)
    for name, architecture in ARCHITECTURES.items():
        save_for_hf(timm.create_model(architecture, pretrained=False), str(folder / "checkpoints" / name))


def measure(browser: Browser, folder: Path, quick: bool, row: Callable[[str, str, str], None]) -> None:
    """Print a row for each measurement as soon as it is known."""
    starts = [cold_start(browser, folder) for _ in range(2 if quick else 5)]
    first, own = (f"{statistics.median(times):.1f} s" for times in zip(*starts, strict=True))
    row(f"`streamlit run` to a live picture on Home, median of {len(starts)}", first, "3 s")
    row("`streamlit run` to the picture of the whole page there", own, "")
    row(
        "`streamlit run` to a live picture on Attention", f"{cold_start(browser, folder, 'attention')[0]:.1f} s", "10 s"
    )
    for name, (source, a_step, a_move) in MODELS.items():
        with running_app(folder) as server:
            measure_canvas(browser, server, f"{name}, 224 px", source, quick, a_step, a_move, row)
    size, count = (224, 5) if quick else (480, 50)
    with running_app(folder) as server:
        page = open_attention(browser, server, f"checkpoints/{BIG}", size)
        sizes = [memory(server), *drop_photos(page, server, count, folder)]
        row(f"server memory, ViT-S/8, {size} px, highest of {count} photos", f"{max(sizes):.0f} MB", "1,600 MB")
        settled = sizes[len(sizes) // 5 :]
        growth = float(np.polyfit(range(len(settled)), settled, 1)[0])
        row("its growth a photo, after the first fifth", f"{growth:+.1f} MB", "0")


def measure_canvas(
    browser: Browser, server: Server, name: str, source: str, quick: bool, a_step: str, a_move: str,
    row: Callable[[str, str, str], None],
) -> None:  # fmt: skip
    """The rows of one model's canvas."""
    steps, moves = (8, 20) if quick else (80, 200)
    page = open_attention(browser, server, source, 224)
    row(f"layer slider to new picture, {name}", median(slider_times(page, steps)), a_step)
    row(f"mouse to redraw, {name}", median(hover_times(page, moves)), "16 ms")
    longest = streaming(page)
    row(f"longest task while layers come, {name}", f"{longest:.0f} ms" if longest else "below 50 ms", "100 ms")
    first, again = second_visit(page)
    row(f"photo and layers fetched, then on reload, {name}", f"{first:.1f} MB, {again:.1f} MB", "0 on reload")
    page.close()
    page = open_attention(browser, server, source, 224, mosaic="1")
    row(f"mouse to redraw with every layer and head, {name}", median(hover_times(page, moves)), a_move)
    page.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few and small photos, to try the script")
    quick = parser.parse_args().quick
    print(f"{psutil.cpu_count()} cores, torch {torch.__version__}, {torch.get_num_threads()} threads\n")
    print("| what | measured | wanted at most |\n| --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        save_models(folder)
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)
        measure(browser, folder, quick, lambda *cells: print(f"| {' | '.join(cells)} |", flush=True))
        browser.close()


if __name__ == "__main__":
    main()
