"""Jobs in their own processes: killed and resumed, queued, stopped, failing on a full disk or without memory."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest
from safetensors.torch import load_file

from explorer import paths
from explorer.errors import TrainingError
from explorer.models.source import ModelSource
from explorer.training.plan import Plan
from explorer.training.runs import jobs
from explorer.training.runs.folder import RunFolder, State, read_config
from explorer.training.runs.json_files import read_json, write_json
from explorer.training.runs.processes import MachineQueue, is_alive, process_start
from tests.training_help import make_dataset

pytestmark = pytest.mark.slow

PATIENCE = 240  # seconds for a process to get somewhere on a busy machine


def wait_for(condition, what: str):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen in {PATIENCE} s")


def status(folder: RunFolder) -> str:
    return folder.read_state().status


def test_killed_job_is_interrupted_and_resumes_to_the_unbroken_result(tmp_path, data, base):
    runs = tmp_path / "runs"
    plan = Plan(train="last-1", epochs=40, batch_size=8)
    killed = jobs.start(data, str(base), plan, "killed", runs)
    assert status(killed) in ("starting", "running")
    wait_for(lambda: killed.read_state().epoch >= 2 or not killed.read_state().active, "the second epoch")
    assert killed.read_state().active, killed.log.read_text()
    os.kill(killed.read_state().pid or 0, signal.SIGKILL)
    wait_for(lambda: status(killed) == "interrupted", "the interruption")
    assert "killed" in (killed.read_state().error or "")
    assert killed.read_state().epoch < 40
    jobs.resume("killed", runs)
    whole = jobs.start(data, str(base), plan, "whole", runs)  # waits in line behind the first
    wait_for(lambda: not killed.read_state().active and not whole.read_state().active, "the end of both")
    assert (status(killed), status(whole)) == ("finished", "finished"), killed.log.read_text() + whole.log.read_text()
    assert json.loads(killed.metrics.read_text()) == json.loads(whole.metrics.read_text())
    for name in ("best", "last"):
        expected, got = load_file(getattr(whole, name)), load_file(getattr(killed, name))
        assert all((expected[key] == got[key]).all() for key in expected)
    steps = [event["step"] for event in jobs.read_run("killed", runs).events() if event["type"] == "step"]
    assert steps == list(range(1, len(steps) + 1))


def test_second_job_waits_in_line_with_its_place_and_can_be_stopped(tmp_path, data, base):
    runs, queue = tmp_path / "runs", MachineQueue()
    with queue.turn(tmp_path / "first", lambda place: None):
        waiting = jobs.start(data, str(base), Plan(epochs=1), "waiting", runs)
        wait_for(lambda: status(waiting) == "queued", "queueing")
        assert waiting.read_state().place == 1
        assert queue.place(waiting.path) == 1 and queue.place(tmp_path / "first") == 0
        jobs.stop("waiting", runs)
        wait_for(lambda: status(waiting) == "stopped", "leaving the line")
    assert queue.place(waiting.path) is None
    jobs.delete("waiting", runs)
    assert not waiting.path.exists()


def test_line_forgets_dead_processes_and_keeps_the_order(tmp_path):
    queue = MachineQueue()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    ticket = {"run": str(tmp_path / "dead"), "pid": dead.pid, "process_started": process_start(dead.pid)}
    dead.wait()
    write_json(queue.folder / "00000000000000000001-1.json", ticket)
    places = []
    with queue.turn(tmp_path / "mine", places.append):
        assert places == [] and queue.place(tmp_path / "mine") == 0 and queue.place(tmp_path / "dead") is None


def test_bad_input_of_a_job_is_a_failed_state_with_its_sentence(tmp_path, base):
    folder = jobs.start(tmp_path / "nothing.zip", str(base), Plan(), "bad", tmp_path / "runs")
    wait_for(lambda: not folder.read_state().active, "the failure")
    state = folder.read_state()
    assert state.status == "failed" and "nothing.zip" in (state.error or "")
    assert "Traceback" not in folder.log.read_text()


def test_a_refused_run_is_shown_with_its_reason_and_gives_up_its_name(tmp_path, data, base):
    runs, zipped = tmp_path / "runs", tmp_path / "pets.zip"
    zipped.write_bytes(b"no zip")
    folder = jobs.start(zipped, str(base), Plan(epochs=1), "pets", runs)
    wait_for(lambda: not folder.read_state().active, "the failure")
    (shown,) = jobs.list_runs(runs)
    assert (shown.state.status, shown.folder.refused) == ("failed", True) and "pets.zip" in (shown.state.error or "")
    shutil.make_archive(str(tmp_path / "pets"), "zip", data)
    again = jobs.start(zipped, str(base), Plan(epochs=1), "pets", runs)
    wait_for(lambda: not again.read_state().active, "the end")
    assert status(again) == "finished", again.log.read_text()
    assert "no zip" not in again.log.read_text() and not again.refused
    with pytest.raises(TrainingError, match="already a run named 'pets'"):
        jobs.start(zipped, str(base), Plan(epochs=1), "pets", runs)


def test_the_process_is_given_the_run_folder_alone(tmp_path, data, base, monkeypatch):
    started = []

    class Process:
        pid = os.getpid()

        def __init__(self, command, **_):
            started.append(command[2:])

        def wait(self):
            pass

    monkeypatch.setattr("subprocess.Popen", Process)
    monkeypatch.chdir(data.parent)
    folder = jobs.start(data.name, ModelSource(str(base), num_heads=2), Plan("last-1", lr=1e-3), "mine", tmp_path)
    assert started == [["explorer", "finetune", "--resume", "--name", "mine", "--runs", str(tmp_path)]]
    options, plan = read_config(folder)
    assert (options.data, options.model) == (str(data), ModelSource(str(base), num_heads=2))
    assert plan == Plan("last-1", lr=1e-3).resolved()


def test_an_ended_job_is_no_zombie(tmp_path, base):
    folder = jobs.start(tmp_path / "nothing.zip", str(base), Plan(), "bad", tmp_path / "runs")
    pid = read_json(folder.process)["pid"]
    assert psutil.Process(pid).ppid() == os.getpid()
    wait_for(lambda: not psutil.pid_exists(pid), "the end of the process, which no one but its starter can bury")
    assert status(folder) == "failed"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 8 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]
    if sys.platform != "linux" or os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a small file system can be mounted by root on Linux alone")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Leave no byte free."""
    with (disk / "filler").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    return disk / "filler"


def test_on_a_full_disk_start_and_resume_are_one_sentence_and_lose_nothing(small_disk):
    runs = small_disk / "runs"
    failed = ended_run(runs, "failed", "failed")
    write_json(failed.state, {**read_json(failed.state), "error": "The disk is full.", "epoch": 3})
    before = {path.name: path.read_bytes() for path in failed.path.iterdir()}
    fill(small_disk)
    with pytest.raises(TrainingError, match=r"'failed' can't be resumed \(No space left on device\); nothing of it is"):
        jobs.resume("failed", runs)
    with pytest.raises(TrainingError, match=r"'new' can't be started in .* \(No space left on device\)"):
        jobs.start("digits.zip", "bundled", Plan(), "new", runs)
    assert {path.name: path.read_bytes() for path in failed.path.iterdir()} == before
    assert [run.name for run in jobs.list_runs(runs)] == ["failed"] and not (runs / "new").exists()


def test_what_a_weights_file_can_not_tell_reaches_the_job(tmp_path, data, base):
    weights = shutil.copy(base / "model.safetensors", tmp_path / "weights.safetensors")
    folder = jobs.start(data, ModelSource(str(weights), num_heads=5), Plan(), "bare", tmp_path / "runs")
    wait_for(lambda: not folder.read_state().active, "the failure")
    assert "5 heads don't divide the width 32" in (folder.read_state().error or "")
    run = jobs.read_run("bare", tmp_path / "runs")
    assert run.options is not None and run.options.model == ModelSource(str(weights), num_heads=5)


LIMITED = """
import resource, sys
from pathlib import Path
from explorer.models.loading import load_model
from explorer.training.runs.folder import read_config
from explorer.training.plan import Plan
from explorer.training.finetune import finetune
from explorer.errors import TrainingError
data, base, run_dir, kind = sys.argv[1:]
model = load_model(base, device="cpu")
def limit(state):
    if kind == "disk" and state.phase == "caching":
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    if kind == "memory" and state.phase == "training":
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used, used))
plan = Plan(train="last-2", epochs=2, batch_size=4096 if kind == "memory" else 8)
try:
    finetune(data, model, plan, run_dir, progress=limit)
except TrainingError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="sets limits as Linux has them")
def test_full_disk_ends_as_failed_and_resumes(tmp_path, data, base):
    from explorer.models.loading import load_model
    from explorer.training.finetune import finetune

    earlier = tmp_path / "checkpoints"
    earlier.mkdir()
    (earlier / "kept").write_text("an earlier checkpoint")
    folder = RunFolder(tmp_path / "runs" / "full")
    command = [sys.executable, "-c", LIMITED, str(data), str(base), str(folder.path), "disk"]
    out = subprocess.run(command, capture_output=True, text=True, cwd=paths.project(), check=True)
    assert "The disk is full" in out.stdout
    state = folder.read_state()
    assert state.status == "failed" and "disk is full" in (state.error or "") and not folder.cache.exists()
    assert (earlier / "kept").is_file()
    result = finetune(data, load_model(str(base), device="cpu"), run_dir=folder.path, resume=True)
    assert result.status == "finished"


@pytest.mark.parametrize("phase, epoch", [("caching", 0), ("training", 0), ("training", 3), ("saving", 5)])
def test_a_disk_that_fills_up_ends_as_failed_and_resumes_to_the_unbroken_result(
    small_disk, tmp_path, data, base, monkeypatch, phase, epoch
):
    from explorer.models.loading import load_model
    from explorer.training.finetune import finetune

    monkeypatch.setattr("explorer.training.examples.SPARE", 0)
    plan, model = Plan(train="last-1", epochs=5, batch_size=8), load_model(str(base), device="cpu")
    whole = finetune(data, model, plan, tmp_path / "runs" / "whole", progress=False)
    earlier = shutil.copytree(base, small_disk / "checkpoints" / "earlier")
    folder = RunFolder(small_disk / "runs" / "full")

    def watch(state: State) -> None:
        if (state.phase, state.epoch) == (phase, epoch):
            fill(small_disk)

    with pytest.raises(TrainingError, match="The disk is full; free some space, then resume the run"):
        finetune(data, model, plan, folder.path, progress=watch)
    assert "disk is full" in (folder.read_state().error or "") and folder.read_state().status == "failed"
    assert [path.name for path in (small_disk / "checkpoints").iterdir()] == ["earlier"]
    assert all((earlier / path.name).read_bytes() == path.read_bytes() for path in base.iterdir())
    assert not list(folder.path.glob(".*"))
    (small_disk / "filler").unlink()
    result = finetune(data, model, run_dir=folder.path, resume=True, progress=False)
    assert result.status == "finished" and result.metrics == whole.metrics


@pytest.mark.skipif(sys.platform != "linux", reason="sets limits as Linux has them")
def test_lost_memory_ends_as_failed(tmp_path, base):
    data = make_dataset(tmp_path / "many", per_class=300, classes=("blue", "red"))
    folder = RunFolder(tmp_path / "run")
    command = [sys.executable, "-c", LIMITED, str(data), str(base), str(folder.path), "memory"]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}  # a thread that can't start would abort the process
    out = subprocess.run(command, capture_output=True, text=True, cwd=paths.project(), env=alone)
    assert "not enough memory" in out.stdout, out.stderr[-2000:]
    assert folder.read_state().status == "failed" and "memory" in (folder.read_state().error or "")


def test_cache_that_can_not_fit_is_refused_at_once(tmp_path, data, base, monkeypatch):
    from explorer.models.loading import load_model
    from explorer.training.finetune import finetune

    monkeypatch.setattr("explorer.training.examples.SPARE", 10**18)
    with pytest.raises(TrainingError, match="GB are free"):
        finetune(data, load_model(str(base), device="cpu"), Plan(), tmp_path / "run")


def test_a_dead_process_or_a_reused_pid_is_not_alive():
    me, started = os.getpid(), process_start(os.getpid())
    assert is_alive(me, started) and not is_alive(me, f"{started}0") and not is_alive(me + 1, started)
    assert not is_alive(None, None)
    child = subprocess.Popen([sys.executable, "-c", ""])
    started = process_start(child.pid)
    wait_for(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE, "the zombie")
    assert not is_alive(child.pid, started)
    child.wait()


def ended_run(runs: Path, name: str, state: str = "stopped") -> RunFolder:
    folder = RunFolder(runs / name)
    folder.path.mkdir(parents=True)
    folder.write_state(State(state))
    return folder


def test_runs_are_listed_newest_first_and_deleted(tmp_path):
    assert jobs.list_runs(tmp_path / "runs") == []
    for name in ("one", "two"):
        ended_run(tmp_path, name)
        time.sleep(0.02)
    (tmp_path / "stray.txt").write_text("not a run")
    assert [run.name for run in jobs.list_runs(tmp_path)] == ["two", "one"]
    jobs.delete("one", tmp_path)
    assert [run.name for run in jobs.list_runs(tmp_path)] == ["two"]


def test_only_runs_inside_the_folder_can_be_deleted(tmp_path):
    runs, outside = tmp_path / "runs", tmp_path / "outside"
    runs.mkdir()
    ended_run(tmp_path, "outside")
    (runs / "link").symlink_to(outside)
    for name in ("../outside", "..", "", str(outside), "link", ".hidden", "a/b"):
        with pytest.raises(TrainingError):
            jobs.delete(name, runs)
    with pytest.raises(TrainingError, match="no run named 'missing'"):
        jobs.delete("missing", runs)
    active = ended_run(runs, "active", "running")
    with pytest.raises(TrainingError, match="stop it before deleting"):
        jobs.delete("active", runs)
    assert outside.is_dir() and active.path.is_dir()


def test_damaged_config_does_not_hide_a_run(tmp_path):
    ended_run(tmp_path, "run").config.write_text("{")
    assert jobs.list_runs(tmp_path)[0].plan is None


def test_free_name_avoids_runs_and_checkpoints(tmp_path):
    runs = tmp_path / "runs"
    assert jobs.free_name("My photos (1).zip", "last-2", runs) == "My-photos-1-last-2"
    (runs / "cats-head").mkdir(parents=True)
    (tmp_path / "checkpoints" / "cats-head-2").mkdir(parents=True)
    assert jobs.free_name("/data/cats.zip", "head", runs) == "cats-head-3"
    with pytest.raises(TrainingError, match="already a checkpoint named"):
        jobs.start("cats.zip", "bundled", Plan(), "cats-head-2", runs)


def test_state_is_never_seen_half_written(tmp_path):
    folder = RunFolder(tmp_path)
    written = folder.write_state(State("running", epochs=3))
    assert asdict(folder.read_state()) == asdict(written) and written.pid == os.getpid()
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]
    write_json(folder.state, asdict(replace(written, process_started="another")))
    assert folder.read_state().status == "interrupted"


def test_a_run_that_ends_while_its_state_is_read_is_finished_not_interrupted(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    running = folder.write_state(State("running", epochs=3))

    def ends(pid, started):
        write_json(folder.state, asdict(replace(running, status="finished", checkpoint="checkpoints/pets")))
        return False

    monkeypatch.setattr("explorer.training.runs.folder.is_alive", ends)
    state = folder.read_state()
    assert (state.status, state.checkpoint, state.error) == ("finished", "checkpoints/pets", None)
