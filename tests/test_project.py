"""The project's own promises: commands that agree, layers that import one way, sizes that stay small."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

RUN = "pip install -r requirements.txt && streamlit run explorer/Home.py"
TEST = "pip install -r requirements-dev.txt && pytest"
CORE = ["attention", "data", "models", "rendering", "training", "commands", "cli", "errors"]


def python_files() -> list[Path]:
    folders = ("explorer", "pages", "tests", "benchmarks")
    return [path for folder in folders for path in sorted((REPOSITORY / folder).rglob("*.py"))]


def test_readme_holds_both_commands_and_ci_runs_the_test_command():
    readme = (REPOSITORY / "README.md").read_text()
    assert RUN in readme.splitlines()
    assert TEST in readme.splitlines()
    assert TEST in (REPOSITORY / ".ci" / "run").read_text().splitlines()


def test_core_imports_no_streamlit():
    modules = [
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
        for name in CORE
        for path in [*(REPOSITORY / "explorer" / name).rglob("*.py"), REPOSITORY / "explorer" / f"{name}.py"]
        if path.exists() and path.stem != "__init__"
    ]
    code = f"import sys, importlib\nfor m in {modules!r}: importlib.import_module(m)\nprint('streamlit' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_modules_stay_small(path: Path):
    limit = 120 if path.parent.name == "pages" else 350
    assert len(path.read_text().splitlines()) <= limit
