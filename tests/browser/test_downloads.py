"""Downloads on the real server, from a hub on this machine: bytes grow in the sidebar, failures leave the model."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import timm
from playwright.sync_api import Browser, Page, expect
from timm.models import save_for_hf

from tests.browser.server import running_app

MB = 2**20
TIMM, TRANSFORMERS = "timm/deit_tiny_patch16_224.fb_in1k", "someone/vit"
ERRORS = {"meta/secret": (403, "GatedRepo"), "nobody/nothing": (404, "RepoNotFound")}


@dataclass
class Hub:
    """A hub that sends 2.5 MB of a file, waits until it is let go on, and sends the rest, or breaks off."""

    url: str = ""
    folders: dict[str, Path] = field(default_factory=dict)
    go_on: Event = field(default_factory=Event)

    def read(self, path: str) -> tuple[int, str, bytes]:
        """(status, error code, content) of a path such as /org/name/resolve/main/config.json."""
        repository, _, rest = path.lstrip("/").partition("/resolve/")
        if repository in ERRORS:
            return *ERRORS[repository], b""
        file = self.folders[repository] / rest.partition("/")[2]
        return (200, "", file.read_bytes()) if file.is_file() else (404, "EntryNotFound", b"")


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, error, content = hub.read(self.path)
            self.send_response(status)
            self.send_header("X-Error-Code", error)
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("ETag", f'"{abs(hash(self.path)):x}"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "HEAD":
                return
            first = int(2.5 * MB)
            self.wfile.write(content[:first])
            if len(content) > first:
                self.wfile.flush()
                hub.go_on.wait(60)
                self.wfile.write(content[first:])

        do_HEAD = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            return None

    return Handler


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = tmp_path_factory.mktemp("hub")
    transformers = pytest.importorskip("transformers")
    hub = Hub(folders={TIMM: folder / "timm", TRANSFORMERS: folder / "transformers"})
    save_for_hf(timm.create_model("deit_tiny_patch16_224"), str(folder / "timm"), safe_serialization=True)
    config = transformers.ViTConfig(hidden_size=192, num_hidden_layers=4, num_attention_heads=3, image_size=64)
    transformers.ViTForImageClassification(config).save_pretrained(folder / "transformers")
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(hub))
    Thread(target=server.serve_forever, daemon=True).start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    yield hub
    hub.go_on.set()
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def online_app(browser: Browser, hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The app with that hub, and a cache of its own."""
    folder = tmp_path_factory.mktemp("online")
    cache = str(folder / "cache")
    with running_app(folder, HF_HUB_OFFLINE="0", HF_ENDPOINT=hub.url, HF_HOME=cache) as server:
        yield server.url


def pick(page: Page, model: str) -> None:
    box = page.locator('[data-testid="stSidebar"] [data-testid="stSelectbox"] input')
    box.click()
    box.fill(model)
    box.press("Enter")


@pytest.mark.parametrize(
    ("typed", "title"), [("deit_tiny_patch16_224.fb_in1k", "DeiT-Ti/16"), (TRANSFORMERS, TRANSFORMERS)]
)
def test_a_download_shows_its_bytes_and_then_the_model(typed, title, page: Page, online_app: str, hub: Hub):
    hub.go_on.clear()
    page.goto(online_app)
    page.locator(".live[data-layer]").wait_for()
    pick(page, typed)
    size = (hub.folders[TRANSFORMERS if typed == TRANSFORMERS else TIMM] / "model.safetensors").stat().st_size
    bar = page.get_by_test_id("stSidebar").get_by_test_id("stProgress")
    expect(bar).to_contain_text(f"2.1 MB of {size / 1e6:.1f} MB")
    hub.go_on.set()
    expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible()
    expect(bar).to_have_count(0)


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("meta/secret", "meta/secret is gated: accept its licence on its page"),
        ("nobody/nothing", "The hub has no public model named nobody/nothing"),
    ],
)
def test_what_can_not_be_had_leaves_the_model_in_use(typed, sentence, page: Page, online_app: str):
    page.goto(f"{online_app}?model=bundled")
    page.locator(".live[data-layer]").wait_for()
    pick(page, typed)
    expect(page.get_by_role("alert").filter(has_text=sentence)).to_be_visible()
    expect(page.get_by_role("heading", name="Bundled ViT", exact=True)).to_be_visible()
