"""What is wrong with a file, and --help, is said without torch: it takes seconds to import."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from explorer.cli import build_parser
from tests.conftest import REPOSITORY
from tests.tiny import photo
from tests.zips import write_zip

pytestmark = pytest.mark.slow

SLOW_TO_IMPORT = ("torch", "timm", "torchvision", "transformers", "sklearn", "accelerate", "plotly")
RUN = """
import contextlib, io, json, sys
from explorer.cli import main
for arguments in json.load(sys.stdin):
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            code = main(arguments)
        except SystemExit as end:
            code = end.code
    print(json.dumps([code, said.getvalue(), [name for name in {slow!r} if name in sys.modules]]))
"""
COMMANDS = next(action.choices for action in build_parser()._actions if action.dest == "command")
HELP = [["--help"], *([name, "--help"] for name in COMMANDS or ())]
WRONG = {
    "attention gone.png": "gone.png",
    "attention broken.png gone.png": "broken.png",
    "attention photo.png --model gone": "isn't a model that the explorer knows",
    "attention photo.png --model gone.pth": "gone.pth doesn't exist",
    "relevance gone.png": "gone.png",
    "relevance photo.png --similar-to gone.png": "gone.png",
    "figure gone.png --out x.svg": "gone.png",
    "compare gone.png --with bundled": "gone.png",
    "compare photo.png --with gone": "isn't a model that the explorer knows",
    "evidence gone.png broken.png": "gone.png",
    "what-if gone.png --drop 1,1": "gone.png",
    "verify gone.npz": "gone.npz",
    "verify photo.png": "isn't an NPZ or PNG",
    "site --model gone --out x": "isn't a model that the explorer knows",
    "video gone.mp4 --out x.mp4": "gone.mp4",
    "score gone masks": "not both there",
    "score broken.png photo.png": "broken.png",
    "score photo.png broken.png --model gone": "isn't a model that the explorer knows",
    "predict bundled gone.png broken.png": "gone.png",
    "evaluate bundled gone": "There is no zip or folder",
    "evaluate bundled broken.zip": "broken.zip",
    "evaluate gone one.zip": "isn't a model that the explorer knows",
    "finetune gone": "There is no zip or folder",
    "finetune broken.zip": "broken.zip",
    "finetune one.zip": "only one class",
    "finetune two.zip --model gone": "isn't a model that the explorer knows",
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, list[str]]]:
    """Of each command: exit code, what it printed, and which slow modules the one interpreter of all held then."""
    folder: Path = tmp_path_factory.mktemp("quick")
    photo(64, 64).save(folder / "photo.png")
    for name in ("broken.png", "broken.zip"):
        (folder / name).write_bytes(b"neither a photo nor a zip")
    for name, classes in (("one.zip", "a"), ("two.zip", "ab")):
        write_zip(folder / name, {f"{kind}/{number}.png": b"" for kind in classes for number in range(3)})
    lines = [*HELP, *(line.split() for line in WRONG)]
    code = RUN.replace("{slow!r}", repr(SLOW_TO_IMPORT))
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(lines), cwd=folder, capture_output=True, text=True,
        env={"PYTHONPATH": str(REPOSITORY), "HF_HUB_OFFLINE": "1", "HOME": str(folder)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {" ".join(line): json.loads(text) for line, text in zip(lines, done.stdout.splitlines(), strict=True)}


@pytest.mark.parametrize("line", [" ".join(line) for line in HELP])
def test_help_needs_no_torch(said, line):
    code, printed, slow = said[line]
    assert (code, slow) == (0, []) and printed.startswith("usage: python -m explorer")


@pytest.mark.parametrize("line", WRONG)
def test_a_file_that_is_wrong_is_named_without_torch(said, line):
    code, printed, slow = said[line]
    assert code == 2 and printed.startswith("error: ") and WRONG[line] in printed, printed
    assert not slow
