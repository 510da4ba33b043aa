"""What finetune() tells a person in Python: a bar on a terminal, else lines, and nothing where that isn't wanted."""

import io
import os
import sys
import time
from dataclasses import replace

import pytest

import explorer
from explorer.training.finetune import finetune
from explorer.training.plan import Plan
from explorer.training.runs import reporter
from explorer.training.runs.folder import RunFolder, State
from explorer.training.runs.reporter import Reporter, numbers, progress_display
from tests.training_help import make_dataset


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data"), per_class=6)


def test_without_a_terminal_every_phase_and_epoch_is_a_line_on_stderr(tmp_path, data, model, capsys):
    result = finetune(data, model, Plan(epochs=2), tmp_path / "runs" / "mine")
    output = capsys.readouterr()
    lines = output.err.splitlines()
    assert output.out == "" and all(line.startswith("mine: ") for line in lines)
    phases = [line.removeprefix("mine: ").split(",")[0] for line in lines]
    assert list(dict.fromkeys(phases)) == [
        "reading", "loading", "caching", "baseline", "training", "saving", "finished",
    ]  # fmt: skip
    assert result.checkpoint and lines[-1].endswith(f"saved as {result.checkpoint}")
    assert any("epoch 2 of 2" in line and "images/s" in line for line in lines)
    early = lines[: next(place for place, line in enumerate(lines) if "epoch 1 of 2" in line)]
    assert "mine: baseline" in early and "mine: training, epoch 0 of 2" in early
    assert not any("left" in line or "images/s" in line for line in [*early, lines[-1]])
    assert explorer.load_model(result.checkpoint, device="cpu").class_names == ["blue", "green", "red"]


def test_a_long_phase_says_every_now_and_then_how_far_it_is(monkeypatch, capsys):
    with progress_display("mine", True) as show:
        assert show
        for progress, later in ((0.1, True), (0.25, False), (0.5, True)):
            monkeypatch.setattr(reporter, "LATER", -1.0 if later else 1e9)
            show(State("running", "caching", progress=progress, seconds_left=12))
    assert capsys.readouterr().err == "mine: caching, 12 s left\nmine: caching, 50 %, 12 s left\n"


def test_it_can_be_told_to_be_silent(tmp_path, data, model, capsys):
    finetune(data, model, Plan(epochs=1), tmp_path / "run", progress=False)
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_it_is_a_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress_display("mine", True) as show:
        assert show
        show(State("running", "caching", progress=1.0))
        show(State("running", "training", progress=0.5, epoch=1, epochs=2))  # less than before, as in every new phase
    assert "caching 100%|" in terminal.getvalue() and "training  50%|" in terminal.getvalue()
    assert "\n" not in terminal.getvalue()


def test_numbers_of_a_waiting_and_a_training_run():
    assert numbers(State("queued", place=2)) == "place 2 in the queue"
    state = State("running", "training", epoch=3, epochs=10, images_per_second=120.4, seconds_left=8)
    assert numbers(state) == "epoch 3 of 10, 120 images/s, 8 s left"
    assert numbers(replace(state, epoch=10, seconds_left=0.0)) == "epoch 10 of 10, 120 images/s"
    assert numbers(replace(state, seconds_left=0.2)).endswith(", 1 s left")


def test_a_new_phase_begins_without_the_numbers_of_the_one_before(tmp_path):
    reporter = Reporter(RunFolder(tmp_path), True, epochs=3, progress=None, tensorboard=False)
    reporter.update(phase="caching")
    reporter.count(5, 10, time.perf_counter() - 1)
    assert reporter.state.seconds_left and reporter.state.images_per_second
    reporter.update(phase="baseline")
    reporter.close()
    state = RunFolder(tmp_path).read_state()
    assert (state.phase, state.seconds_left, state.images_per_second) == ("baseline", None, None)


def test_a_reader_that_went_away_ends_no_training(monkeypatch):
    read, write = os.pipe()
    os.close(read)
    with io.FileIO(write, "w") as pipe:
        monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(pipe, write_through=True))
        with pytest.raises(BrokenPipeError):
            print("lost", file=sys.stderr, flush=True)
        with progress_display("mine", True) as show:
            assert show
            show(State("running", "training", epochs=2))
        monkeypatch.undo()
