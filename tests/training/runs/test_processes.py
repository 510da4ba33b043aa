"""A live run stays live while the clock is set, and is neither resumed beside itself nor deleted."""

import json
import os
import subprocess
import sys
import time

import psutil
import pytest

from explorer.errors import TrainingError
from explorer.models.source import ModelSource
from explorer.training.plan import Plan
from explorer.training.runs import jobs
from explorer.training.runs.folder import Options, RunFolder, State, create_run
from explorer.training.runs.processes import MachineQueue, is_alive, process_start, runs_elsewhere

STEP = 7200.0  # seconds by which the clock is set


@pytest.fixture(params=[STEP, -STEP])
def clock_step(request, monkeypatch):
    """Call it to set the clock as psutil sees that: it adds the boot time, which moves, to the ticks since then."""

    def step():
        boot_time, create_time = psutil.boot_time, psutil.Process.create_time
        monkeypatch.setattr(psutil, "boot_time", lambda: boot_time() + request.param)
        monkeypatch.setattr(psutil.Process, "create_time", lambda self: create_time(self) + request.param)
        monkeypatch.setattr("time.time", lambda: 1.8e9 + request.param)

    return step


def test_a_step_of_the_clock_makes_no_live_run_another(tmp_path, clock_step):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.write_state(State("running", "training", epochs=3))
    clock_step()
    assert folder.read_state().status == "running"
    with pytest.raises(TrainingError, match="only one that stopped early can be resumed"):
        jobs.resume("run", tmp_path)
    with pytest.raises(TrainingError, match="stop it before deleting"):
        jobs.delete("run", tmp_path)
    queue = MachineQueue()
    with queue.turn(folder.path, lambda place: None):
        clock_step()
        assert queue.place(folder.path) == 0


def test_what_a_process_is_known_by_is_the_same_in_another_process():
    code = f"from explorer.training.runs.processes import process_start; print(process_start({os.getpid()}))"
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert asked.stdout.strip() == process_start(os.getpid())


def test_where_there_is_no_proc_psutil_tells_processes_apart(monkeypatch, tmp_path):
    monkeypatch.setattr("explorer.training.runs.processes.BOOT_ID", tmp_path / "none")
    started = process_start(os.getpid())
    assert started and is_alive(os.getpid(), started) and not is_alive(os.getppid(), started)
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert process_start(child.pid) is None


@pytest.mark.parametrize("pid", [True, 0, -1, 1.5, "1", None, 10**30, [1], {}])
def test_values_that_are_no_pid_are_no_process(pid):
    assert not is_alive(pid, process_start(os.getpid()))


def test_damaged_tickets_stop_no_one(tmp_path):
    queue = MachineQueue()
    for number, text in enumerate(["", "[]", "\0\1", '{"run": 3, "pid": "x", "process_started": null}', "[" * 100_000]):
        (queue.folder / f"{number:020d}-1.json").write_text(text)
    with queue.turn(tmp_path / "mine", lambda place: None):
        assert queue.place(tmp_path / "mine") == 0
    assert not list(queue.folder.glob("[0-9]*.json"))


def test_a_live_run_whose_state_is_damaged_is_not_deleted(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.state.write_text("{")
    works = pytest.raises(TrainingError, match="A training process works on the run 'run'")
    with MachineQueue().turn(folder.path, lambda place: None), works:
        jobs.delete("run", tmp_path)
    jobs.delete("run", tmp_path)
    assert not folder.path.exists()


def test_a_run_is_live_while_its_process_is_being_started(tmp_path, monkeypatch):
    seen = []

    class Process:
        pid = os.getpid()

        def __init__(self, *_, **__):
            seen.append(RunFolder(tmp_path / "new").read_state().status)

        def wait(self):
            pass

    monkeypatch.setattr("subprocess.Popen", Process)
    jobs.start("digits", "bundled", Plan(), "new", tmp_path)
    assert seen == ["starting"]


def test_a_process_killed_while_it_makes_the_run_leaves_the_name_free(tmp_path):
    """First killed before its state is there, then right after."""
    folder, options = RunFolder(tmp_path / "run"), Options("digits", ModelSource("bundled"), str(tmp_path / "out"))
    folder.path.mkdir()
    (folder.path / ".state.json.4242").write_text('{"status": "sta')
    create_run(folder, options, Plan())
    state = json.loads(folder.state.read_text())
    folder.config.unlink()
    folder.state.write_text(json.dumps({**state, "pid": 2**22 + 1}))
    assert folder.read_state().status == "interrupted"
    create_run(folder, options, Plan())
    assert folder.read_state().status == "starting" and folder.config.is_file()
    with pytest.raises(TrainingError, match="already a run named"):
        create_run(folder, options, Plan())


def test_machines_that_share_the_folders_see_each_other_s_runs_and_wait_only_for_their_own(tmp_path):
    here, queue = process_start(os.getpid()), MachineQueue()
    far = RunFolder(tmp_path / "far")
    far.path.mkdir()
    ticket = queue.folder / "00000000000000000001-7.json"
    ticket.write_text(json.dumps({"run": str(far.path), "pid": 7, "process_started": "another-boot 42"}))
    state = far.write_state(State("running", "training", epochs=3))
    old = {**vars(state), "pid": 7, "process_started": "another-boot 42", "updated": state.updated - 1000}
    far.state.write_text(json.dumps(old))
    assert far.read_state().status == "running" and queue.place(far.path) == 0
    with pytest.raises(TrainingError, match="stop it before deleting"):
        jobs.delete("far", tmp_path)
    places = []
    with queue.turn(tmp_path / "near", places.append):
        assert places == [] and queue.place(tmp_path / "near") == 0, "another machine's job is not in this one's way"
    os.utime(ticket, (0, 0))  # nobody touches it any more
    assert far.read_state().status == "interrupted" and not ticket.exists()
    assert here and is_alive(os.getpid(), here)


def test_containers_on_one_machine_are_machines_of_their_own(tmp_path, monkeypatch):
    namespace = tmp_path / "pid"
    namespace.symlink_to("pid:[4026531836]")
    monkeypatch.setattr("explorer.training.runs.processes._NAMESPACE", namespace)
    here, folder = process_start(os.getpid()), RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.write_state(State("running", "training", epochs=3))
    assert here and "-4026531836 " in here and not runs_elsewhere(here)
    namespace.unlink()
    namespace.symlink_to("pid:[4026532000]")  # the other container, which sees none of this one's processes
    assert runs_elsewhere(here) and folder.read_state().status == "running"


def test_a_process_that_is_being_started_elsewhere_has_time_to_import_pytorch(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    for status, age, expected in (("starting", 300, "starting"), ("starting", 900, "interrupted")):
        state = vars(folder.write_state(State(status)))
        old = {**state, "process_started": "another-boot 42", "updated": state["updated"] - age}
        folder.state.write_text(json.dumps(old))
        assert folder.read_state().status == expected


def test_a_job_whose_ticket_another_machine_took_for_dead_takes_its_place_again(tmp_path, monkeypatch):
    monkeypatch.setattr("explorer.training.runs.processes.HEARTBEAT", 0.01)
    queue = MachineQueue()
    with queue.turn(tmp_path / "first", lambda place: None):
        (ticket,) = queue.folder.glob("[0-9]*.json")
        before = ticket.read_text()
        ticket.unlink()
        end = time.monotonic() + 30
        while not ticket.is_file() and time.monotonic() < end:
            time.sleep(0.01)
        assert ticket.read_text() == before and queue.place(tmp_path / "first") == 0
    assert not list(queue.folder.glob("[0-9]*.json"))
