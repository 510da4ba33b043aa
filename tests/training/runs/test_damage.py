"""A damaged run is a line or a sentence about that run; all others are listed, and pages go on."""

import json
import os
import random
import shutil
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from explorer.cli import main
from explorer.errors import ExplorerError, TrainingError
from explorer.training.finetune import finetune
from explorer.training.plan import Plan
from explorer.training.runs import jobs
from explorer.training.runs.events import EventReader
from explorer.training.runs.folder import RunFolder, State
from explorer.training.runs.json_files import NUMBER, fits, read_json, write_json
from explorer.training.runs.processes import process_start
from explorer.training.runs.snapshots import load_saved, load_tensors
from tests.training.runs.damage import damage
from tests.training_help import make_dataset, make_model

LISTED, DRAWN = 120, 12  # damaged folders that are listed, and that are drawn by the page as well


@pytest.fixture(scope="module")
def real_run(tmp_path_factory) -> Path:
    """The folder of a finished run, as training left it, with the file that its launch wrote."""
    home = tmp_path_factory.mktemp("home")
    data, model = make_dataset(home / "data", 6), make_model(home / "base")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXPLORER_QUEUE", str(home / "queue"))
        finetune(data, model, Plan(epochs=2), home / "runs" / "real", progress=False)
    folder = RunFolder(home / "runs" / "real")
    write_json(folder.process, {"pid": os.getpid(), "process_started": process_start(os.getpid())})
    return folder.path


@pytest.fixture
def runs(tmp_path, real_run, monkeypatch) -> Path:
    """A folder of runs: a good one, a failed one."""
    monkeypatch.setenv("EXPLORER_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(tmp_path / "checkpoints"))
    shutil.copytree(real_run, tmp_path / "runs" / "good")
    failed = RunFolder(tmp_path / "runs" / "failed")
    failed.path.mkdir()
    failed.write_state(State("failed", "training", epoch=1, epochs=2, error="The disk is full."))
    return tmp_path / "runs"


def damaged(runs: Path, real_run: Path, seed: int) -> str:
    shutil.rmtree(runs / "bad", ignore_errors=True)
    shutil.copytree(real_run, runs / "bad")
    draw = random.Random(seed)
    if draw.random() < 0.3:  # as it is while the process starts
        state = json.loads((runs / "bad" / "state.json").read_text())
        write_json(runs / "bad" / "state.json", {**state, "status": "starting"})
    return damage(runs / "bad", draw)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, LISTED, 40))
def test_whatever_is_damaged_all_other_runs_are_listed(runs, real_run, capsys, start):
    for seed in range(start, start + 40):
        done = damaged(runs, real_run, seed)
        chart = [] if seed % 10 else ["--chart", str(runs / "chart.html")]
        assert main(["runs", "--runs", str(runs), *chart]) == 0, (seed, done)
        output = capsys.readouterr()
        lines = {line.split()[0]: line for line in output.out.splitlines()[2 if chart else 1 :]}
        assert set(lines) == {"good", "bad", "failed"} and not output.err, (seed, done, output)
        assert lines["good"].split()[1] == "finished" and lines["failed"].split()[1] == "failed", (seed, done)


@pytest.mark.slow
def test_a_damaged_run_can_not_be_resumed_but_deleted(runs, real_run):
    for seed in range(LISTED):
        done = damaged(runs, real_run, seed)
        try:
            run = jobs.read_run("bad", runs)
        except TrainingError:
            run = next(run for run in jobs.list_runs(runs) if run.name == "bad")
            assert run.damage and run.state.status == "failed", (seed, done)
        if not run.state.active:
            jobs.delete("bad", runs)
            assert not run.folder.path.exists(), (seed, done)


@pytest.mark.slow
def test_damaged_weights_are_a_sentence(runs, real_run):
    for seed in range(LISTED):
        draw = random.Random(seed)
        for name in ("resume.pt", "best.safetensors"):
            shutil.rmtree(runs / "bad", ignore_errors=True)
            shutil.copytree(real_run, runs / "bad")
            folder = RunFolder(runs / "bad")
            damage(folder.path, draw, (name,))
            try:
                load_saved(folder)
                load_tensors(folder.best)
            except TrainingError as error:
                assert name in str(error)


def draw_bad_run() -> None:
    """Every step of the page that draws a run."""
    import streamlit as st

    from explorer.ui.finetune.result import show_result
    from explorer.ui.finetune.runs import pick_run, show_runs
    from explorer.ui.finetune.train import show_run
    from explorer.ui.messages import show_errors

    st.query_params["run"] = "bad"
    run = pick_run()
    assert run is not None
    for show in (lambda: show_run(run.folder), lambda: show_result(run), show_runs):
        with show_errors():
            show()


@pytest.mark.slow
def test_pages_draw_a_damaged_run_with_a_sentence_and_no_traceback(runs, real_run):
    for seed in range(DRAWN):
        done = damaged(runs, real_run, seed)
        app = AppTest.from_function(draw_bad_run, default_timeout=60).run()
        assert not app.exception, (seed, done, app.exception)


@pytest.mark.parametrize("number", [10**400, -(10**400), float("nan"), float("inf"), True, "1"])
def test_numbers_that_no_run_writes_fit_nothing(number):
    assert not fits(number, NUMBER) and fits(2**53, NUMBER) and fits(0.5, NUMBER)


def test_lines_that_are_no_events_are_counted_and_passed_over(tmp_path):
    path = tmp_path / "events.jsonl"
    good = '{"type": "end", "time": 1.0, "status": "finished"}\n'
    path.write_bytes(
        good.encode() + b"\xff\x00\n" + b"[" * 100_000 + b'\n{"type": "step", "step": "x"}\n' + good.encode()
    )
    reader = EventReader(path)
    assert [event["type"] for event in reader.read()] == ["end", "end"] and reader.damaged == 3


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes among its files")
def test_what_has_no_end_is_not_read(runs, monkeypatch):
    folder = RunFolder(runs / "good")
    folder.predictions.unlink()
    os.mkfifo(folder.predictions)
    with pytest.raises(TrainingError, match=r"predictions.json of the run 'good' isn't a file"):
        read_json(folder.predictions)
    every = len(EventReader(folder.events).read())
    monkeypatch.setattr("explorer.training.runs.events.LARGEST_LOG", folder.events.stat().st_size // 2)
    assert 0 < len(EventReader(folder.events).read()) < every
    folder.log.write_text("x" * 100_000 + "\nerror: The disk is full.\n")
    folder.write_state(State("running", pid=1, process_started="gone"))
    state = json.loads(folder.state.read_text()) | {"process_started": "gone"}
    write_json(folder.state, state)
    assert folder.read_state().error == "The disk is full."


def test_a_run_that_another_window_deletes_while_all_are_listed_is_left_out(runs, monkeypatch):
    read = jobs.read_config

    def read_while_others_go(folder: RunFolder):
        shutil.rmtree(runs / "failed", ignore_errors=True)
        shutil.rmtree(runs / "aborted", ignore_errors=True)
        return read(folder)

    shutil.copytree(runs / "failed", runs / "aborted")
    monkeypatch.setattr(jobs, "read_config", read_while_others_go)
    assert "good" in [run.name for run in jobs.list_runs(runs)]
    assert [run.name for run in jobs.list_runs(runs)] == ["good"]


def test_a_run_that_can_not_be_read_is_a_failed_line(runs, capsys):
    shutil.copytree(runs / "failed", runs / "closed")
    state = runs / "closed" / "state.json"
    state.unlink()
    state.symlink_to(state)  # as a folder without rights does, it fails for everybody, root too
    (runs / "file").write_text("no run")
    (runs / "empty").mkdir()
    assert main(["runs", "--runs", str(runs)]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()[1:]}
    assert set(lines) == {"good", "failed", "closed"}
    assert "state.json of the run 'closed' can't be read" in lines["closed"]
    closed = next(run for run in jobs.list_runs(runs) if run.name == "closed")
    assert (closed.state.status, closed.events()) == ("failed", []) and closed.damage
    for act in (jobs.resume, jobs.stop, jobs.read_run):
        with pytest.raises(TrainingError, match="can't be read"):
            act("closed", runs)
    jobs.delete("closed", runs)
    assert not (runs / "closed").exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every folder")
def test_a_closed_folder_is_a_failed_line_only_with_the_name_of_a_run(runs):
    for name in ("closed", "lost+found"):
        (runs / name).mkdir(mode=0o000)
    assert {run.name for run in jobs.list_runs(runs)} == {"good", "failed", "closed"}


def test_predictions_of_classes_that_the_run_lacks_are_damage(runs):
    run = jobs.read_run("good", runs)
    rows = run.predictions()
    write_json(run.folder.predictions, [{**rows[0], "predicted": "unheard of"}, *rows[1:]])
    with pytest.raises(TrainingError, match=r"predictions.json of the run 'good' is damaged"):
        run.predictions()


def test_a_folder_whose_name_is_no_text_is_a_line(runs, capsys):
    odd = os.fsdecode(b"caf\xe9")
    try:
        (runs / odd).mkdir()
    except OSError:
        pytest.skip("this disk takes no names that aren't UTF-8")
    shutil.copy(runs / "good" / "state.json", runs / odd)
    assert main(["runs", "--runs", str(runs)]) == 0
    output = capsys.readouterr().out
    assert "caf\\udce9" in output and "good" in output


def test_a_run_with_a_damaged_plan_says_so(runs):
    config = json.loads((runs / "good" / "config.json").read_text())
    write_json(runs / "good" / "config.json", {**config, "plan": {**config["plan"], "epochs": -3}})
    run = jobs.read_run("good", runs)
    assert run.plan is None and run.damage == "epochs must be at least 1, not -3."
    with pytest.raises(ExplorerError, match="only one that stopped early"):
        jobs.resume("good", runs)
