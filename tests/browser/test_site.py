"""The page with the model inside, in a browser without network: its answers and maps are torch's."""

import base64
import io
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Page

import explorer
from explorer.data.samples import sample_photo
from explorer.web.payload import without_imports
from explorer.web.site.page import HERE, About, write_site
from tests.tiny import save_tiny

ASK = """([name, type, data]) => new Promise((resolve) => {
    const begun = performance.now();
    addEventListener("looked", ({ detail }) => requestAnimationFrame(() => {
        const whole = performance.now() - begun;
        const text = (array) => Array.from(new Uint8Array(array.buffer), (x) => String.fromCharCode(x)).join("");
        const base64 = (array) => btoa(text(array));
        resolve([base64(detail.rgb), Array.from(detail.logits), base64(detail.q), base64(detail.k), detail.ms, whole]);
    }), { once: true });
    const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
    const files = new DataTransfer();
    files.items.add(new File([bytes], name, { type }));
    const input = document.querySelector("[data-part=file]");
    input.files = files.files;
    input.dispatchEvent(new Event("change"));
})"""


# Which backends run on three photos, where the GPU is off by so much, or fails (null), and takes longer or not.
BACKENDS = """async ([script, off, slow, fallback]) => {
    const used = [];
    const session = (backend) => ({
        run: async () => {
            used.push(backend);
            if (backend === "webgpu" && off === null) throw new Error("lost");
            if (slow === (backend === "webgpu")) await new Promise((resolve) => setTimeout(resolve, 50));
            return { logits: { data: Float32Array.of(2, backend === "webgpu" ? off : 0) } };
        },
        release: async () => {},
    });
    const create = async (_, { executionProviders: [backend] }) => session(backend);
    const ort = { env: { wasm: {} }, InferenceSession: { create } };
    const gpu = { requestAdapter: async () => ({ info: { isFallbackAdapter: fallback } }) };
    Object.defineProperty(navigator, "gpu", { configurable: true, value: gpu });
    const { load, answer } = new Function("ort", `${script}; return { load, answer }`)(ort);
    await load({ files: [new ArrayBuffer(1)], settings: { files: { weights: "" }, webgpu: true } });
    for (let photo = 0; photo < 3; photo++) await answer(null);
    return used.slice(-2);
}"""
CAMERA = "navigator.mediaDevices.getUserMedia = async () => document.createElement('canvas').captureStream()"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> explorer.Model:
    folder = tmp_path_factory.mktemp("model")
    save_tiny(folder / "tiny")
    return explorer.load_model(folder / "tiny", device="cpu")


@pytest.fixture(scope="module")
def folder(model: explorer.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_site(model, tmp_path_factory.mktemp("site") / "folder", half=False).parent


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    handler.log_message = lambda *args: None  # type: ignore[method-assign]
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()


def photos() -> dict[str, Image.Image]:
    """Of many shapes, one with see-through parts, and one in another colour space, which models' libraries ignore."""
    cat = sample_photo("cat")
    found = {"wide": cat, "tall": cat.crop((100, 0, 200, 300)), "square": cat.crop((0, 0, 300, 300))}
    found["small"] = cat.resize((31, 17))
    found["narrow"] = cat.crop((200, 0, 220, 300))  # enlarged, and down first, as Pillow does for such
    found["thin"] = cat.crop((0, 100, 451, 112))
    found["adobe"] = sample_photo("rocket").resize((320, 213))
    assert b"Adobe RGB" in found["adobe"].info["icc_profile"]
    found["clear"] = cat.convert("RGBA")
    found["clear"].putalpha(Image.linear_gradient("L").resize(cat.size))
    return found


def ask(page: Page, image: Image.Image) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float, float]:
    """Pixels, logits, q, k, milliseconds of the model and those from the photo to the drawn map."""
    file = io.BytesIO()
    image.save(file, "PNG")
    content = base64.b64encode(file.getvalue()).decode()
    rgb, logits, q, k, ms, whole = page.evaluate(ASK, ["photo.png", "image/png", content])
    q, k = (np.frombuffer(base64.b64decode(text), np.float32) for text in (q, k))
    return np.frombuffer(base64.b64decode(rgb), np.uint8), np.array(logits), q, k, ms, whole


def open_site(page: Page, address: str) -> None:
    page.goto(address)
    page.wait_for_selector("html[data-ready=true]")


def test_pixels_classes_and_maps_are_those_of_torch(page: Page, address: str, model: explorer.Model):
    open_site(page, address)
    for name, image in photos().items():
        rgb, logits, q, k, *_ = ask(page, image)
        fitted = np.array(model.fit(image))
        difference = np.abs(rgb.reshape(fitted.shape).astype(int) - fitted)
        assert difference.max() <= (3 if name == "clear" else 0), name  # browsers blend see-through pixels in 8 bits
        recording = explorer.record(model, Image.fromarray(rgb.reshape(fitted.shape)), fit="keep")
        shares = [torch.softmax(torch.tensor(given), -1).numpy() for given in (logits, recording.logits)]
        assert np.abs(shares[0] - shares[1]).max() < 1e-4, name
        ours = np.stack([recording.q(layer) for layer in range(recording.depth)])
        assert np.abs(q.reshape(ours.shape) - ours).max() < 1e-3, name
        ours = np.stack([recording.k(layer) for layer in range(recording.depth)])
        assert np.abs(k.reshape(ours.shape) - ours).max() < 1e-3, name


def test_one_file_opens_from_a_disk_without_network(new_window: Callable[..., Page], model: explorer.Model, tmp_path):
    about = About(licence="<b>MIT</b>", accuracy=0.9, validated=10, unsure=0.99)
    index = write_site(model, tmp_path / "single", about, single_file=True)
    page = new_window(offline=True, color_scheme="dark", viewport={"width": 390, "height": 800})
    open_site(page, index.as_uri())
    rgb, logits, *_ = ask(page, sample_photo("cat"))
    found = torch.softmax(torch.tensor(logits), -1).numpy()
    fitted = Image.fromarray(rgb.reshape(np.array(model.fit(sample_photo("cat"))).shape))
    expected = torch.softmax(torch.from_numpy(explorer.record(model, fitted, fit="keep").logits), -1).numpy()
    assert np.abs(found - expected).max() < 0.01  # weights in half precision
    assert page.inner_text("footer").count("<b>MIT</b>") == 1 and "90.0 % of 10" in page.inner_text("footer")
    assert "answers only ant, bee" in page.inner_text("[data-part=answers]")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_file_that_is_no_photo_is_one_sentence(page: Page, address: str):
    open_site(page, address)
    page.set_input_files("[data-part=file]", {"name": "a.txt", "mimeType": "text/plain", "buffer": b"no photo"})
    page.get_by_text("This file is damaged, or no photo that this browser can read").wait_for()
    ask(page, sample_photo("coffee"))  # and it goes on


def test_a_photo_stops_the_camera_and_a_very_wide_one_is_whole(page: Page, address: str, model: explorer.Model):
    page.add_init_script(CAMERA)
    open_site(page, address)
    page.click("[data-part=camera][aria-pressed=false]")
    page.wait_for_selector("[data-part=camera][aria-pressed=true]")
    wide = sample_photo("cat").resize((17_000, 60))  # more than a canvas of Chromium is wide
    rgb, *_ = ask(page, wide)
    fitted = np.array(model.fit(wide))
    assert np.abs(rgb.reshape(fitted.shape).astype(int) - fitted).max() == 0
    assert page.get_attribute("[data-part=camera]", "aria-pressed") == "false"


@pytest.mark.parametrize(
    ("off", "slow", "fallback", "kept"),
    [(0.001, False, False, "webgpu"), (0.001, True, False, "wasm"), (0.1, False, False, "wasm"),
     (None, False, False, "wasm"), (0.001, False, True, "wasm")],
)  # fmt: skip
def test_a_gpu_is_kept_only_where_it_is_as_right_and_sooner(page: Page, off, slow, fallback, kept):
    page.goto("about:blank")
    assert (
        page.evaluate(BACKENDS, [without_imports((HERE / "worker.js").read_text()), off, slow, fallback]) == [kept] * 2
    )
