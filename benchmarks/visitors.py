"""Many people on one server: `python -m benchmarks.visitors` prints how long they wait, and what the server takes.

A real server with the bundled model. Its sessions speak Streamlit's own protocol, as a browser does, each with a cookie
of its own, and fetch every file that the canvas would. All of them do the same at the same moment, which is the worst
case: open Home; drop a photo nobody sent before, again and again; report layer after layer to the server. Meanwhile one
real browser changes layers (--no-browser goes without). --checkout DIR measures the app of another checkout, with the
same sessions.
"""

import argparse
import io
import json
import re
import secrets
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import psutil
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from benchmarks.app import COMPLETE, WATCH
from tests.browser.server import FLAGS, KEEP_DRAWN, chromium_path, running_app
from tests.conftest import REPOSITORY

PATIENCE = 300  # seconds for one answer
SHORT = 320, 240  # pixels of a photo
CALM = 150  # seconds until the server is measured once more: Streamlit keeps a window that left for 120
RERUN = 2  # how a script ends that begins again at once


@dataclass
class Session:
    """One visitor's window: what it is connected by, and what it was shown last."""

    host: str
    socket: ClientConnection
    uploader: str = ""
    canvas: str = ""
    files: list[str] = field(default_factory=list)
    query: str = "model=bundled"
    errors: list[str] = field(default_factory=list)
    session: str = ""

    def run(self, page: str = "", **state: object) -> None:
        """Have the script run with that changed, read until it ended, and fetch every file of the canvas."""
        message = BackMsg()
        message.rerun_script.query_string, message.rerun_script.page_name = self.query, page
        for key, value in state.items():
            widget = message.rerun_script.widget_states.widgets.add(id=getattr(self, key))
            if isinstance(value, tuple):
                about = widget.file_uploader_state_value.uploaded_file_info.add(name=value[0], size=value[1])
                about.file_id = value[2].file_id
                about.file_urls.CopyFrom(value[2])
            else:
                widget.json_value = json.dumps(value)
        self.socket.send(message.SerializeToString())
        before = set(self.files)
        while (answer := self._receive()).WhichOneof("type") != "script_finished" or answer.script_finished == RERUN:
            self._take(answer)
        for path in set(self.files) - before:
            with urlopen(f"http://{self.host}{path}", timeout=PATIENCE) as file:
                file.read()

    def _receive(self) -> ForwardMsg:
        answer = ForwardMsg()
        answer.ParseFromString(self.socket.recv(timeout=PATIENCE, decode=False))
        return answer

    def _take(self, message: ForwardMsg) -> None:
        """Note what a message shows: widgets, the canvas' files, errors."""
        if message.WhichOneof("type") == "new_session":
            self.session = message.new_session.initialize.session_id or self.session
        element = message.delta.new_element
        kind = element.WhichOneof("type") if message.WhichOneof("type") == "delta" else None
        if kind == "file_uploader" and element.file_uploader.label == "Your photos":
            self.uploader = element.file_uploader.id
        elif kind == "bidi_component" and element.bidi_component.component_name.endswith("vit_hero"):
            self.canvas = element.bidi_component.id
            self.files = re.findall(r"/media/[0-9a-f]+\.\w+", element.bidi_component.bytes.decode("latin-1"))
        elif kind == "exception":
            self.errors.append(element.exception.message)
        elif kind == "alert" and element.alert.format == element.alert.ERROR:
            self.errors.append(element.alert.body)

    def drop(self, photo: bytes) -> None:
        """Send a photo as the drop zone does, and wait for its picture."""
        name, before = f"{secrets.token_hex(4)}.jpg", self.files
        message = BackMsg()
        message.file_urls_request.file_names.append(name)
        message.file_urls_request.request_id, message.file_urls_request.session_id = name, self.session
        self.socket.send(message.SerializeToString())
        while (answer := self._receive()).WhichOneof("type") != "file_urls_response":
            self._take(answer)
        place = answer.file_urls_response.file_urls[0]
        _put(f"http://{self.host}{place.upload_url}", name, photo)
        self.run(uploader=(name, len(photo), place))
        if before and self.files == before:  # earlier releases sent the picture with the page
            self.errors.append("a new photo left the old picture")

    def report(self, layer: int, seq: int) -> None:
        """Tell the server which layer is looked at, as the canvas does."""
        shown = {"shows": "attention", "layer": layer, "head": "mean", "query": "cls", "look": {}, "seq": seq}
        self.run(canvas={"view": shown})


def _put(url: str, name: str, content: bytes) -> None:
    edge = secrets.token_hex(16)
    head = f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    body = head.encode() + content + f"\r\n--{edge}--\r\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={edge}"}
    with urlopen(Request(url, body, kind, method="PUT"), timeout=PATIENCE):
        pass


def new_photo(draw: np.random.Generator) -> bytes:
    """A JPEG that nobody sent before, as hard to decode as a photo."""
    small = Image.fromarray(draw.integers(0, 256, (12, 16, 3), np.uint8)).resize(SHORT, Image.Resampling.BICUBIC)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=90)
    return file.getvalue()


def together(sessions: list[Session], act: Callable[[Session], None]) -> list[float]:
    """Seconds that each took, all having begun at the same moment."""
    start = threading.Barrier(len(sessions))

    def timed(session: Session) -> float:
        start.wait()
        began = time.perf_counter()
        try:
            act(session)
        except (OSError, TimeoutError) as error:
            session.errors.append(f"{type(error).__name__}: {error}")
        return time.perf_counter() - began

    with ThreadPoolExecutor(len(sessions)) as pool:
        return list(pool.map(timed, sessions))


@contextmanager
def opened(host: str, count: int) -> Iterator[list[Session]]:
    """So many visitors, connected, each with another cookie."""
    with ExitStack() as stack:
        sessions = []
        for _ in range(count):
            cookie = {"Cookie": f"explorer_visitor={secrets.token_hex(16)}"}
            link = connect(
                f"ws://{host}/_stcore/stream", subprotocols=[Subprotocol("streamlit")], max_size=None,
                additional_headers=cookie, open_timeout=PATIENCE,
            )  # fmt: skip
            sessions.append(Session(host, stack.enter_context(link)))
        yield sessions


class Memory:
    """The most that the server took, measured ten times a second, and what it takes now; in GB."""

    def __init__(self, pid: int):
        self._process, self.most, self._over = psutil.Process(pid), 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def now(self) -> float:
        return self._process.memory_info().rss / 1e9

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            self.most = max(self.most, self.now())

    def stop(self) -> None:
        self._over.set()
        self._thread.join()


def words(seconds: list[float]) -> str:
    """ "0.84 s (95 %: 1.20 s)"."""
    return f"{statistics.median(seconds):.2f} s (95 %: {np.percentile(seconds, 95):.2f} s)" if seconds else "–"


def browser_times(page: Page, stop: threading.Event) -> None:
    """Change layers with the keys until told to stop; WATCH keeps the milliseconds in the page."""
    page.locator(COMPLETE).wait_for()
    page.locator(COMPLETE).evaluate(WATCH)
    slider = page.get_by_role("slider", name="Layer", exact=True).first
    press = 0
    while not stop.is_set():
        slider.press("ArrowLeft" if press % 10 < 5 else "ArrowRight")
        page.wait_for_timeout(400)
        press += 1


@contextmanager
def watching_browser(url: str, wanted: bool) -> Iterator[list[float]]:
    """A real browser that changes layers all the while; its times in seconds are in the list at the end."""
    times: list[float] = []
    ready, stop, path = threading.Event(), threading.Event(), chromium_path()

    def browse() -> None:
        with sync_playwright() as playwright:
            page = playwright.chromium.launch(executable_path=path, args=FLAGS).new_page()
            page.set_default_timeout(PATIENCE * 1000)
            page.add_init_script(KEEP_DRAWN)
            page.goto(f"{url}/?model=bundled")
            page.locator(COMPLETE).wait_for()
            ready.set()
            browser_times(page, stop)
            times.extend(ms / 1000 for ms in page.locator(COMPLETE).evaluate("(root) => root.times"))

    thread = threading.Thread(target=browse, daemon=True)
    if wanted and path:
        thread.start()
        ready.wait(PATIENCE)
    try:
        yield times
    finally:
        stop.set()
        if thread.ident:
            thread.join(PATIENCE)


def measure(url: str, pid: int, count: int, photos: int, layers: int, browser: bool, calm: float) -> str:
    """A row of the table for so many sessions at once."""
    host, draw = url.removeprefix("http://"), np.random.default_rng(count)
    with opened(host, 1) as (first,):
        first.run("attention")  # which waits for PyTorch and the model
        first.run()
    memory = Memory(pid)
    idle = memory.now()
    with watching_browser(url, browser) as changed, opened(host, count) as sessions:
        home = together(sessions, lambda session: session.run())
        dropped = [
            seconds
            for _ in range(photos)
            for seconds in together(sessions, lambda session: session.drop(new_photo(draw)))
        ]
        reported = [
            seconds
            for seq in range(1, layers + 1)
            for seconds in together(sessions, lambda session, seq=seq: session.report(seq % 12, seq))
        ]
        errors = [error for session in sessions for error in session.errors]
    time.sleep(calm)
    memory.stop()
    for error in dict.fromkeys(errors):
        print(f"  {error}", flush=True)
    return (
        f"| {count} | {words(home)} | {words(dropped)} | {words(changed)} | {words(reported)} | {len(errors)} | "
        f"{idle:.2f} | {memory.most:.2f} | {memory.now():.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, nargs="+", default=[1, 10, 20, 40])
    parser.add_argument("--photos", type=int, default=3, help="new photos for each session (default: 3)")
    parser.add_argument("--layers", type=int, default=5, help="layers that each reports (default: 5)")
    parser.add_argument("--checkout", type=Path, default=REPOSITORY, help="whose app is measured (default: this one)")
    parser.add_argument("--no-browser", action="store_true", help="without the browser that changes layers")
    parser.add_argument("--calm", type=float, default=CALM, help=f"seconds before the last look (default: {CALM})")
    args = parser.parse_args()
    print("| sessions | Home | new photo | layer change | report of a layer | errors | idle GB | most GB | after GB |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for count in args.sessions:
        with tempfile.TemporaryDirectory() as folder:
            given = {
                "EXPLORER_VISITORS": "1", "EXPLORER_WORKSPACES": f"{folder}/workspaces", "HF_HOME": f"{folder}/none",
                "STREAMLIT_SERVER_ENABLE_XSRF_PROTECTION": "false",
            }  # fmt: skip
            with running_app(Path(folder), args.checkout.resolve(), **given) as server:
                row = measure(server.url, server.pid, count, args.photos, args.layers, not args.no_browser, args.calm)
                print(row, flush=True)


if __name__ == "__main__":
    main()
