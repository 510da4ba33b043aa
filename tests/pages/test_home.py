"""The real server, `streamlit run explorer/Home.py` in a process of its own, asked as a browser asks."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from explorer.ui import cached
from explorer.ui.components import asset
from explorer.web.welcome import PAGE
from tests.app import TINY, open_app, sentences
from tests.browser.server import running_app
from tests.conftest import REPOSITORY
from tests.tiny import save_weights

pytestmark = pytest.mark.slow

PATIENCE = 90  # seconds for the slowest machine


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port of a server with the tiny model."""
    folder: Path = tmp_path_factory.mktemp("checkpoints")
    save_weights(folder)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "explorer/Home.py", "--server.port", str(port)]
    env = os.environ | {"EXPLORER_CHECKPOINTS": str(folder), "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        [*command, "--server.headless", "true"],
        cwd=REPOSITORY,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        _wait(process, f"http://127.0.0.1:{port}/_stcore/health")
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=20)


def _wait(process: subprocess.Popen, url: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail("the server did not start")


def run_page(server: str, query: str) -> list[ForwardMsg]:
    """Open a session, run the script once, and return everything that the server sent for it."""
    message = BackMsg()
    message.rerun_script.query_string = query
    received = []
    with connect(f"ws://{server}/_stcore/stream", subprotocols=[Subprotocol("streamlit")], max_size=None) as socket:
        socket.send(message.SerializeToString())
        while True:
            answer = ForwardMsg()
            answer.ParseFromString(socket.recv(timeout=PATIENCE, decode=False))
            received.append(answer)
            if answer.WhichOneof("type") == "script_finished":
                return received


def elements(messages: list[ForwardMsg], kind: str) -> list:
    found = (message.delta.new_element for message in messages if message.WhichOneof("type") == "delta")
    return [getattr(element, kind) for element in found if element.WhichOneof("type") == kind]


def test_home_answers_with_a_picture_and_no_exception(server: str):
    messages = run_page(server, f"model={TINY}")
    assert not elements(messages, "exception")
    assert not [alert.body for alert in elements(messages, "alert") if alert.format == alert.ERROR]
    assert [title.body for title in elements(messages, "heading")][:1] == ["See where a Vision Transformer looks"]
    assert "vit_hero" in [component.component_name for component in elements(messages, "bidi_component")]


def test_home_answers_with_the_shipped_picture_while_the_model_loads(monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setattr(cached, "is_loaded", lambda source: False)
    monkeypatch.setattr(cached, "begin_loading", asked.append)
    monkeypatch.setattr(cached, "record", lambda *args: pytest.fail("nothing is recorded"))
    app = open_app(model="bundled")
    assert not app.exception and not sentences(app)
    assert any("loading in the background" in caption.value for caption in app.caption)
    app.run()  # the browser has it
    assert [source.source for source in asked] == ["bundled"]


def test_the_menu_names_every_page_file(server: str):
    messages = run_page(server, f"model={TINY}")
    menu = next(message.navigation for message in messages if message.WhichOneof("type") == "navigation")
    files = {path.stem for path in (REPOSITORY / "pages").glob("*.py")}
    assert {page.url_pathname or "home" for page in menu.app_pages} == files


def answer(server: str, path: str) -> str:
    with urlopen(f"http://{server}/{path}", timeout=PATIENCE) as answer:
        assert answer.status == 200
        return answer.read().decode()


def test_the_bare_address_answers_with_the_first_picture_over_streamlits_page(server: str):
    index = answer(server, "")
    assert index.count("<iframe") == 1 and f'src="./{PAGE}"' in index and 'id="root"' in index
    assert "LiveView" in answer(server, PAGE)


@pytest.mark.parametrize("path", [f"?model={TINY}", "attention"])
def test_a_link_to_anything_else_gets_streamlits_page_alone(server: str, path: str):
    index = answer(server, path)
    assert 'id="root"' in index and "<iframe" not in index


@pytest.mark.parametrize("query", ["", "?photo=coffee&layer=3"])
@pytest.mark.parametrize(
    ("typed", "path"),
    [("home", ""), ("Home", ""), ("Attention", "attention"), ("fine-tune", "finetune"), ("Fine-tune", "finetune")],
)
def test_a_page_by_its_name_or_title_is_found(server: str, typed: str, path: str, query: str):
    with urlopen(f"http://{server}/{typed}{query}", timeout=PATIENCE) as answer:
        assert answer.url == f"http://{server}/{path}{query}"


@pytest.mark.parametrize("path", ["", "attention", "finetune?step=Runs"])
def test_the_menus_rule_is_there_before_the_menu_is_measured(server: str, path: str):
    head, _ = answer(server, path).split("</head>")
    assert asset("menu.css") in head


def test_the_model_is_loaded_although_nobody_came(tmp_path: Path):
    with running_app(tmp_path) as fresh:
        deadline = time.monotonic() + PATIENCE
        while resident(fresh.pid) < 300:  # MB: PyTorch alone is more
            assert time.monotonic() < deadline
            time.sleep(0.2)


def resident(pid: int) -> float:
    return psutil.Process(pid).memory_info().rss / 1e6
