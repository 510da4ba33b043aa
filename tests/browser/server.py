"""A real server of the app and a real browser, for browser tests and benchmarks."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.error import URLError
from urllib.request import urlopen

from tests.conftest import REPOSITORY

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
START = 120  # seconds that a server may take to answer
# For every page: what a live picture drew last, as its "drawn" event tells it, is kept as .drawn of its element.
KEEP_DRAWN = "window.addEventListener('drawn', (event) => (event.composedPath()[0].drawn = event.detail))"


class Server(NamedTuple):
    """Where the app answers, and its process."""

    url: str
    pid: int


def chromium_path() -> str | None:
    """Where Chromium is installed, or None."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@contextmanager
def running_app(folder: Path, checkout: Path = REPOSITORY, **environment: str) -> Iterator[Server]:
    """`streamlit run explorer/Home.py` with its checkpoints and runs in folder, stopped at the end; offline.

    checkout: whose app it is.
    Raises RuntimeError at the end where the server logged a traceback: a page showed one, or would have.
    """
    port = free_port()
    env = os.environ | {
        "EXPLORER_CHECKPOINTS": str(folder / "checkpoints"),
        "EXPLORER_RUNS": str(folder / "runs"),
        "EXPLORER_QUEUE": str(folder / "queue"),
        "HF_HUB_OFFLINE": "1",
        **environment,
    }
    command = [
        sys.executable, "-m", "streamlit", "run", "explorer/Home.py", "--server.port", str(port),
        "--server.headless", "true", "--browser.gatherUsageStats", "false",
    ]  # fmt: skip
    log = folder / f"server-{port}.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(command, cwd=checkout, env=env, stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait_until_healthy(process, f"http://127.0.0.1:{port}/_stcore/health", log)
        yield Server(f"http://127.0.0.1:{port}", process.pid)
    finally:
        process.terminate()
        process.wait(timeout=20)
    said = log.read_text("utf-8", errors="replace")
    # Streamlit's own, where a browser leaves while the connection is being made: no page shows it.
    if any("starlette.websockets.WebSocketDisconnected" not in traceback for traceback in said.split("Traceback")[1:]):
        raise RuntimeError(f"the app's server logged a traceback:\n{said[-8000:]}")


def _wait_until_healthy(process: subprocess.Popen, url: str, log: Path) -> None:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urlopen(url, timeout=1) as answer:
                if answer.status == 200:
                    return
        except (URLError, OSError):
            time.sleep(0.05)
    raise RuntimeError(f"the app's server did not start:\n{log.read_text()[-4000:]}")
