"""The wheel, installed elsewhere, has the app and the bundled model; what deploy/ names exists."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from explorer.cli import build_parser

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that no build folder is left in the checkout."""
    copy = tmp_path_factory.mktemp("copy")
    files = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=REPOSITORY, capture_output=True)
    if files.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, files.stdout.decode().split("\0")):
        if (REPOSITORY / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            os.link(REPOSITORY / name, copy / name)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", str(copy / "out"), "."]
    done = subprocess.run(build, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next((copy / "out").glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_all_that_the_app_reads(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    files = subprocess.run(["git", "ls-files", "explorer", "pages", ".streamlit", "checkpoints"], cwd=REPOSITORY,
                           capture_output=True, text=True).stdout.split()  # fmt: skip
    left_out = {name for name in files if name.endswith(".d.ts")}
    wanted = {name if name.startswith("explorer/") else f"explorer/{name}" for name in set(files) - left_out}
    assert wanted <= inside, wanted - inside
    assert not any("__pycache__" in name or name.startswith("tests") for name in inside)


@pytest.mark.slow
def test_it_works_elsewhere(wheel, tmp_path):
    packages, folder = tmp_path / "packages", tmp_path / "work"
    folder.mkdir()
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--target", str(packages), str(wheel)]
    done = subprocess.run(install, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    alone = {name: value for name, value in os.environ.items() if not name.startswith("EXPLORER_")}
    alone["PYTHONPATH"] = str(packages)

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=folder, env=alone, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "bundled" in run(sys.executable, str(packages / "bin" / "vit-explorer"), "models")
    code = """
import explorer, numpy as np
from explorer import paths
from explorer.ui.navigation import entries
model = explorer.load_model("bundled")
print(explorer.__file__, len(entries()), paths.runs(), explorer.record(model, np.zeros((64, 64, 3), np.uint8)).depth)
"""
    file, pages, runs, depth = run(sys.executable, "-c", code).split()
    assert Path(file).parent == packages / "explorer" and Path(runs) == folder / "runs"
    assert int(pages) == len(list((REPOSITORY / "pages").glob("*.py"))) and int(depth) > 1


def test_deploy_names_what_exists():
    docker, compose = ((REPOSITORY / "deploy" / name).read_text() for name in ("Dockerfile", "compose.yaml"))
    for line in re.findall(r"^COPY (.*) \S+$", docker, re.M):
        assert all((REPOSITORY / name).exists() for name in line.split())
    assert (REPOSITORY / re.findall(r"dockerfile: (\S+)", compose)[0]).is_file()
    config = tomllib.loads((REPOSITORY / ".streamlit" / "config.toml").read_text())
    assert config["server"]["address"] == "localhost", "nobody else's computer reaches it by itself"
    assert '"--server.address", "0.0.0.0"' in docker, "but the container has to let its port through"
    assert docker.count("vit-explorer") and build_parser().parse_args(["app", "--server.headless", "true"]).options
