"""Fixtures that every test may use: the shared data (skipped with the reason where absent), small random models."""

from pathlib import Path

import pytest
import torch

from tests.tiny import save_weights

REPOSITORY = Path(__file__).resolve().parent.parent
BROWSER_TESTS = REPOSITORY / "tests" / "browser"
SHARED_DATA = REPOSITORY.parent / "shared" / "data"

torch.set_num_threads(1)  # tiny models: a second thread costs more than it gives, many times more on a busy machine


@pytest.hookimpl(tryfirst=True)  # before pytest selects by markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in tests/browser is marked so; slow tests say it themselves."""
    for item in items:
        if BROWSER_TESTS in item.path.parents:
            item.add_marker("browser")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print which tests were tried once more, and why they failed at first."""
    tried_again = terminalreporter.stats.get("rerun", [])
    if tried_again:
        terminalreporter.section(f"tried once more after a failure: {len(tried_again)}, each a fault to be understood")
    for report in tried_again:
        terminalreporter.write_line(f"{report.nodeid}\n{report.longreprtext}\n")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real weights, photos and masks; tests that need it skip where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the folder ../shared/data with real weights and photos is absent")
    return SHARED_DATA


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoints folder with the tiny model, in place of the project's own."""
    save_weights(tmp_path)
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(tmp_path))
    return tmp_path


@pytest.fixture(autouse=True)
def own_queue(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests stand in a line of their own, not behind a training that a person runs on this machine."""
    monkeypatch.setenv("EXPLORER_QUEUE", str(tmp_path_factory.mktemp("queue")))
