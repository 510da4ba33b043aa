"""The page with the model inside beside torch: python -m benchmarks.site [PHOTOS] prints agreement, sizes and times.

PHOTOS: a folder of photos, of which 24 are taken; without it the samples, whole and cut to many shapes. One thread, a
real browser, the page from a host on this machine.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import torch
from PIL import Image
from playwright.sync_api import Page, sync_playwright

import explorer
from explorer.attention.recording import Recording
from explorer.data.samples import SAMPLES, sample_photo
from explorer.web.site.page import write_site
from tests.browser.server import FLAGS, chromium_path
from tests.browser.test_site import ask

COUNT = 24
SHAPES = (1.0, 0.4, 2.5, 1.6)  # width by height of what is cut from the samples
CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
STARTS = 5
WATCH = """new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) window.longest = Math.max(window.longest ?? 0, entry.duration);
}).observe({ type: "longtask", buffered: true })"""
FRAMES = """(seconds) => new Promise((resolve) => {
    let count = 0;
    addEventListener("looked", () => count++);
    setTimeout(() => resolve(count / seconds), 1000 * seconds);
})"""


def photos(folder: Path | None) -> dict[str, Image.Image]:
    """24 photos by name."""
    if folder:
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
        return {path.name: Image.open(path).convert("RGB") for path in paths[:: max(1, len(paths) // COUNT)][:COUNT]}
    cut = {f"{name}, {shape:g}": cut_to(sample_photo(name), shape) for shape in SHAPES for name in SAMPLES}
    return dict(list(cut.items())[:COUNT])


def cut_to(photo: Image.Image, shape: float) -> Image.Image:
    """The centre of the photo with that width by height."""
    width, height = min(photo.width, photo.height * shape), min(photo.height, photo.width / shape)
    left, upper = (photo.width - width) / 2, (photo.height - height) / 2
    return photo.crop((round(left), round(upper), round(left + width), round(upper + height)))


@contextmanager
def hosted(folder: Path) -> Iterator[str]:
    """The address of a folder on this machine."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()


def opened(page: Page, address: str) -> float:
    """Seconds until the page answers."""
    began = time.perf_counter()
    page.goto(address)
    page.wait_for_selector("html[data-ready=true]", timeout=120_000)
    return time.perf_counter() - began


def compare(page: Page, model: explorer.Model, image: Image.Image) -> dict[str, float]:
    """One photo in the browser and in torch."""
    rgb, logits, q, k, ms, whole = ask(page, image)
    fitted = np.asarray(model.fit(image))
    ours = explorer.record(model, image)
    same = explorer.record(model, Image.fromarray(rgb.reshape(fitted.shape)), fit="keep")
    assert ours.logits is not None
    found = torch.softmax(torch.from_numpy(logits), -1).numpy()
    expected = torch.softmax(torch.from_numpy(ours.logits), -1).numpy()
    return {
        "pixels": np.abs(rgb.reshape(fitted.shape).astype(int) - fitted).max(),
        "top": float(found.argmax() == expected.argmax()),
        "probability": np.abs(found - expected).max(),
        "map": max(map_error(same, q, k, layer) for layer in range(model.depth)),
        "model_s": ms / 1000,
        "whole_s": whole / 1000,
    }


def map_error(recording: Recording, q: np.ndarray, k: np.ndarray, layer: int) -> float:
    """The largest difference of a cls weight of that layer, relative to the layer's largest."""
    shape = (recording.depth, *recording.q(layer).shape)
    scores = torch.from_numpy(q.reshape(shape)[layer][:, :1] @ k.reshape(shape)[layer].transpose(0, 2, 1))
    rows = torch.softmax(scores * recording.scale(layer), dim=-1)[:, 0]
    expected = torch.from_numpy(np.asarray(recording.rows(layer, "cls")))
    return float((rows - expected).abs().max() / expected.max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="?", type=Path)
    parser.add_argument("--full-precision", action="store_true")
    args = parser.parse_args()
    model = explorer.load_model("bundled", device="cpu")
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        began = time.perf_counter()
        folder = write_site(model, Path(temporary) / "page", half=not args.full_precision).parent
        sizes = {path.name: path.stat().st_size / 1e6 for path in folder.iterdir()}
        print(f"page of {model.name} made in {time.perf_counter() - began:.1f} s: {sum(sizes.values()):.1f} MB, "
              + ", ".join(f"{name} {size:.1f}" for name, size in sizes.items()) + "\n")  # fmt: skip
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=[*FLAGS, *CAMERA])
        with hosted(folder) as address:
            starts = []
            for _ in range(STARTS):
                page = browser.new_context(permissions=["camera"]).new_page()
                starts.append(opened(page, address))
            page.evaluate(WATCH)
            shown = photos(args.photos)
            rows = [compare(page, model, image) for image in shown.values()]
            page.evaluate("window.longest = 0")
            page.click("[data-part=camera]")
            rate = page.evaluate(FRAMES, 10)
            longest = page.evaluate("window.longest ?? 0")
        browser.close()
    count, names = len(rows), list(shown)
    print("| what | measured | bound |\n| --- | --- | --- |")
    print(f"| same likeliest class | {sum(row['top'] for row in rows):.0f} of {count} | all |")
    for key, words, bound in (
        ("pixels", "largest difference of a pixel, of 255", "1.5"),
        ("probability", "largest difference of a probability", ".01"),
        ("map", "largest difference of a weight, same pixels, relative", ".001"),
    ):
        worst = max(range(count), key=lambda index: rows[index][key])
        print(f"| {words} | {rows[worst][key]:.2g} ({names[worst]}) | {bound} |")
    print(f"| ready, median of {STARTS} starts | {np.median(starts):.1f} s | 3 s |")
    print(f"| photo to map, median | {np.median([row['whole_s'] for row in rows]):.2f} s | 0.6 s |")
    print(f"| of that the model | {np.median([row['model_s'] for row in rows]):.2f} s | |")
    print(f"| camera | {rate:.1f} pictures per second | 1.5 |")
    print(f"| longest task of the page meanwhile | {longest:.0f} ms | |")


if __name__ == "__main__":
    main()
