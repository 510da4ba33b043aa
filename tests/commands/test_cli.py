"""Whatever is typed wrongly ends with exit code 2 and one line on stderr that says what would be right."""

import subprocess
import sys

import pytest

from explorer.cli import build_parser, main
from tests.conftest import REPOSITORY
from tests.tiny import photo, save_tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a photo, a model and a plain file."""
    folder = tmp_path_factory.mktemp("cli")
    photo(64, 64).save(folder / "photo.png")
    save_tiny(folder / "model")
    (folder / "taken").write_text("a file, no folder")
    return folder


def commands() -> list[str]:
    return list(next(a.choices for a in build_parser()._actions if a.dest == "command" and a.choices))


def check_one_line(capsys, words: str) -> None:
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1 and captured.err.endswith("\n")
    assert words in captured.err, captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    "arguments,words",
    [
        ([], "required: COMMAND (`python -m explorer --help`"),
        (["nonsense"], "invalid choice: 'nonsense'"),
        (["attention"], "required: IMAGE (`python -m explorer attention --help`"),
        (["attention", "x.png", "--layer", "last"], "--layer: layer must be a whole number, not 'last'"),
        (["attention", "x.png", "--size", "nan"], "--size: invalid int value: 'nan'"),
        (["attention", "x.png", "--fusion", "sum"], "--fusion: invalid choice: 'sum'"),
        (["attention", "x.png", "--fit", "stretch"], "--fit: invalid choice: 'stretch'"),
        (["models", "more"], "unrecognized arguments: more"),
    ],
)
def test_a_command_that_is_not_understood(capsys, arguments, words):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    check_one_line(capsys, words)


@pytest.mark.parametrize("command", [name for name in commands() if name != "app"])  # whose options are Streamlit's
def test_every_command_refuses_an_unknown_option_in_one_line(capsys, command):
    with pytest.raises(SystemExit) as caught:
        main([command, "--no-such-option"])
    assert caught.value.code == 2
    check_one_line(capsys, "--help` says what it takes")


@pytest.mark.parametrize(
    "options,words",
    [
        (["--layer", "2"], "layers 0 to 1"),
        (["--head", "median"], "mean, max, min, not 'median'"),
        (["--head", "-1"], "heads 0 to 1"),
        (["--query", "100,100"], "outside the grid of 8 rows and 8 columns"),
        (["--query", "reg9"], "no 'reg9' token; ask from cls, mean or a patch"),
        (["--size", "0"], "must be above 0, not 0: try 112"),
        (["--size", "-1"], "must be above 0, not -1"),
        (["--size", "65"], "isn't a multiple of the patch size 8: try 64"),
        (["--size", "10000000"], "limit is 10,000"),
        (["--mass", "nan"], "above 0 and up to 1"),
        (["--mass", "2"], "above 0 and up to 1"),
        (["--colormap", "jet"], "colour map"),
        (["--opacity", "7"], "opacity must lie between 0 and 1"),
        (["--rollout", "--discard-ratio", "1"], "discard_ratio must lie"),
        (["--rollout", "--start-layer", "2"], "start_layer must be 0 to 1"),
        (["--out", "{folder}/taken"], "/taken can't be read or written (File exists): give another path."),
        (["--out", "{folder}/taken/below"], "can't be read or written (Not a directory)"),
        (["--model", "no-such-model"], "isn't a model that the explorer knows"),
    ],
)
def test_settings_that_can_not_be_had(folder, capsys, tmp_path, options, words):
    options = [option.format(folder=folder) for option in options]
    arguments = ["attention", str(folder / "photo.png"), "--model", str(folder / "model"), "--out", str(tmp_path)]
    assert main([*arguments, *options]) == 2
    check_one_line(capsys, words)


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_traceback():
    command = f"{sys.executable} -m explorer models | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")
