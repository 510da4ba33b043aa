"""How quick and how small the app is, in a real browser: `python -m benchmarks.app` prints a table.

Cold start to a live picture, on Home and on Attention; layer slider to new picture; mouse to redraw; the server's
memory with ViT-S/8 at 480 px, and its growth over many photos. --quick tries everything on few and small photos.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import timm
import torch
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from timm.models import save_for_hf

from tests.browser.server import FLAGS, KEEP_DRAWN, Server, chromium_path, running_app

BIG = "vit_small_patch8"  # random weights, in the server's checkpoints folder
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


def open_attention(browser: Browser, server: Server, model: str, size: int) -> Page:
    """The Attention page with the canvas drawn."""
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.set_default_timeout(300_000)
    page.add_init_script(KEEP_DRAWN)
    page.goto(f"{server.url}/attention?model={model}&size={size}&photo=astronaut")
    page.locator(".live[data-layer]").wait_for()
    page.wait_for_timeout(2000)  # the rest of the page
    return page


def cold_start(browser: Browser, folder: Path, path: str = "") -> float:
    """Seconds from the command to a picture of the bundled model that follows the mouse, on that page."""
    begin = time.perf_counter()
    with running_app(folder, HF_HOME=str(folder / "no-models")) as server:
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(120_000)
        page.goto(f"{server.url}/{path}", wait_until="commit")
        page.locator(".live[data-layer]").wait_for()
        page.locator("[data-part=picture]").hover()
        page.locator('.live:not([data-query="cls"])').wait_for()
        seconds = time.perf_counter() - begin
        page.close()
    return seconds


def slider_times(page: Page, presses: int) -> list[float]:
    """Milliseconds from a key on the layer slider to the new layer's picture."""
    canvas, slider = page.locator(".live[data-layer]"), page.get_by_role("slider", name="Layer")
    canvas.evaluate(WATCH)
    for press in range(presses):
        layer = canvas.get_attribute("data-layer")
        slider.press("ArrowLeft" if press % 12 < 6 else "ArrowRight")
        page.locator(f'.live:not([data-layer="{layer}"])').wait_for()
        page.wait_for_timeout(500)  # the rest of the rerun
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
        page.wait_for_function(
            "(before) => [...document.querySelectorAll('[data-testid=stBidiComponentIsolated]')]"
            ".map((host) => host.shadowRoot.querySelector('.live')).filter(Boolean)"
            f".some((root) => ({FIRST_WEIGHTS})(root) !== before)",
            arg=before,
        )
        page.wait_for_timeout(300)
        sizes.append(memory(server))
    return sizes


def median(times: list[float]) -> str:
    """ "12 ms (95 %: 20 ms, n = 40)"."""
    high = float(np.percentile(times, 95))
    return f"{statistics.median(times):.0f} ms (95 %: {high:.0f} ms, n = {len(times)})"


def save_big_model(folder: Path) -> None:
    torch.manual_seed(0)
    module = timm.create_model("vit_small_patch8_224.dino", pretrained=False)
    save_for_hf(module, str(folder / "checkpoints" / BIG))


def measure(browser: Browser, folder: Path, quick: bool, row: Callable[[str, str, str], None]) -> None:
    """Print a row for each measurement as soon as it is known."""
    presses, moves = (6, 20) if quick else (40, 200)
    starts = [cold_start(browser, folder) for _ in range(2 if quick else 5)]
    seconds = f"{statistics.median(starts):.1f} s"
    row(f"`streamlit run` to a live picture on Home, median of {len(starts)}", seconds, "3 s")
    row("`streamlit run` to a live picture on Attention", f"{cold_start(browser, folder, 'attention'):.1f} s", "10 s")
    with running_app(folder) as server:
        page = open_attention(browser, server, "bundled", 224)
        row(
            "layer slider to new picture, bundled model, 224 px",
            median(slider_times(page, presses)),
            "300 ms",
        )
        page.close()
    with running_app(folder) as server:
        page = open_attention(browser, server, f"checkpoints/{BIG}", 224)
        row("layer slider to new picture, ViT-S/8, 224 px", median(slider_times(page, presses)), "300 ms")
        row("mouse to redraw, ViT-S/8, 224 px", median(hover_times(page, moves)), "16 ms")
        page.close()
    size, count = (224, 5) if quick else (480, 50)
    with running_app(folder) as server:
        page = open_attention(browser, server, f"checkpoints/{BIG}", size)
        sizes = [memory(server), *drop_photos(page, server, count, folder)]
        row(f"server memory, ViT-S/8, {size} px, highest of {count} photos", f"{max(sizes):.0f} MB", "1,600 MB")
        settled = sizes[len(sizes) // 5 :]
        growth = float(np.polyfit(range(len(settled)), settled, 1)[0])
        row("its growth a photo, after the first fifth", f"{growth:+.1f} MB", "0")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few and small photos, to try the script")
    quick = parser.parse_args().quick
    print(f"{psutil.cpu_count()} cores, torch {torch.__version__}, {torch.get_num_threads()} threads\n")
    print("| what | measured | wanted at most |\n| --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        save_big_model(folder)
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)
        measure(browser, folder, quick, lambda *cells: print(f"| {' | '.join(cells)} |", flush=True))
        browser.close()


if __name__ == "__main__":
    main()
