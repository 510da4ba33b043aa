"""The time a run will take: measured on a few images, and learnt from the runs that ended on this machine."""

import json
from dataclasses import replace

import pytest

from explorer.data.images import open_image
from explorer.models.source import ModelSource
from explorer.training.estimate import UNKNOWN_START, Estimate, cache_warning, cost_line, estimate, kind_of
from explorer.training.examples import SPARE
from explorer.training.finetune import finetune
from explorer.training.plan import Plan
from explorer.training.runs import jobs
from explorer.training.runs.events import EventLog, read_events
from explorer.training.runs.folder import Options, RunFolder, State, create_run
from tests.training_help import make_dataset, make_model

MEASURED = Estimate(before_seconds=4, epoch_seconds=2, epochs=10, cache_bytes=0, kept_bytes=0)
PLAN, BASE = Plan("last-2").resolved(), ModelSource("bundled")
SCORES = {f"{side}_{key}": 0.5 for side in ("train", "val") for key in ("loss", "accuracy", "f1_macro")}


def ended(runs, name: str, plan: Plan, starting: float, caching: float, epoch: float) -> None:
    """A finished run on 80 + 20 images."""
    folder = RunFolder(runs / name)
    create_run(folder, Options("data", BASE, str(runs / f"{name}-made")), plan)
    log = EventLog(folder.events)
    log.emit("phase", phase="starting", seconds=starting)
    log.emit("start", train_images=80, val_images=20, steps_an_epoch=3)
    log.emit("phase", phase="caching", seconds=caching)
    for number in (1, 2):
        log.emit("epoch", epoch=number, best=True, seconds=epoch, lr=0.1, **SCORES)
    log.emit("phase", phase="saving", seconds=1.0)
    log.close()
    folder.write_state(State("finished"))


def test_without_earlier_runs_the_start_of_the_process_counts_as_on_a_usual_laptop(tmp_path):
    learned = MEASURED.learned_from(jobs.list_runs(tmp_path), kind_of(BASE, PLAN), (80, 20))
    assert learned.start_seconds == UNKNOWN_START and learned.seconds == UNKNOWN_START + 4 + 10 * 2


def test_runs_of_the_same_kind_tell_everything_others_the_start_alone(tmp_path):
    ended(tmp_path, "other", Plan("all").resolved(), starting=30, caching=0, epoch=500)
    other = MEASURED.learned_from(jobs.list_runs(tmp_path), kind_of(BASE, PLAN), (160, 40))
    assert (other.start_seconds, other.before_seconds, other.epoch_seconds) == (31, 4, 2)
    for number, starting in enumerate((38, 40, 42)):
        ended(tmp_path, f"same{number}", PLAN, starting=starting, caching=10, epoch=3)
    learned = MEASURED.learned_from(jobs.list_runs(tmp_path), kind_of(BASE, PLAN), (160, 40))
    assert (learned.start_seconds, learned.before_seconds, learned.epoch_seconds) == (40, 20, 6)  # twice the images
    assert learned.seconds == 40 + 20 + 60


def test_of_large_images_few_are_timed_so_that_memory_holds_them(tmp_path, monkeypatch):
    images, opened = sorted(make_dataset(tmp_path / "data", 4).rglob("*.png")), set()
    monkeypatch.setattr("explorer.training.estimate.open_image", lambda image: opened.add(image) or open_image(image))
    monkeypatch.setattr("explorer.training.estimate.MOST_TOKENS", 40)
    model = make_model(tmp_path / "base")  # of 16 patches at 32 pixels
    for size, timed in ((32, 2), (64, 1)):
        opened.clear()
        estimate(model, Plan("last-1", image_size=size), ["blue", "green", "red"], images, 3)
        assert len(opened) == timed


def test_the_disk_that_is_asked_for_before_a_run_is_what_the_run_asks_for(tmp_path, monkeypatch):
    data, asked = make_dataset(tmp_path / "data", 6), []
    monkeypatch.setattr("explorer.training.pipeline.check_disk", lambda _, *written: asked.append(sum(written)))
    source, plan = make_model(tmp_path / "base"), Plan("last-1", epochs=1)
    finetune(data, source, plan, tmp_path / "runs" / "mine", progress=False)
    start = next(each for each in read_events(tmp_path / "runs/mine/events.jsonl") if each["type"] == "start")
    images = sorted(data.rglob("*.png"))[: start["train_images"]]
    cost = estimate(source, plan, ["blue", "green", "red"], images, start["val_images"])
    assert cost.result_bytes > 0 and [cost.disk_bytes(plan)] == [size + SPARE for size in asked]


def test_cost_line_names_time_disk_and_why_every_epoch_is_slow():
    cost = Estimate(before_seconds=12, epoch_seconds=3, epochs=10, cache_bytes=97_000_000, kept_bytes=11_400_000)
    line = cost_line(cost, Plan("last-2"), 74_600_000_000)
    assert "longer if the computer is busy" in line
    assert "**42 s**" in line and "12 s of it" in line and "**97 MB**" in line and "74.6 GB free" in line
    head = cost_line(
        Estimate(before_seconds=40, epoch_seconds=0.1, epochs=10, cache_bytes=10**6, kept_bytes=0), Plan(), 10**9
    )
    assert "About **41 s**, nearly all of it before the first epoch" in head
    assert "Every epoch runs every block" in cost_line(cost, Plan("all"), 10**9)
    assert "kept" not in line
    assert "3 epochs are kept beside the result, which takes **34 MB** for good." in cost_line(
        cost, Plan("last-2", epochs=10, keep_epochs=3), 10**9
    )


def test_a_cache_that_does_not_fit_is_told_with_what_helps():
    cost = Estimate(10, 2, epochs=10, cache_bytes=3 * 10**11, kept_bytes=0, start_seconds=20, uncached_seconds=600)
    disk = cache_warning(cost, free=3 * 10**11, memory=16 * 10**9)
    assert "300.2 GB of disk but only 300.0 GB are free. Without a cache the training takes about 1 h 40 min" in disk
    memory = cache_warning(cost, free=10**12, memory=16 * 10**9)
    assert "larger than this computer's memory (16.0 GB), so every epoch reads it from the disk" in memory
    assert cache_warning(cost, free=10**12, memory=10**12) == ""
    without = cost_line(replace(cost, cache_bytes=0), Plan(cache="none"), 10**9)
    assert "of disk" not in without and "because no cache keeps what the frozen ones make of it" in without


@pytest.mark.parametrize("lost", ["start", "epoch"])
def test_a_run_whose_log_lost_lines_teaches_nothing(tmp_path, lost):
    ended(tmp_path, "same", PLAN, starting=38, caching=10, epoch=3)
    log = tmp_path / "same" / "events.jsonl"
    log.write_text("".join(line for line in log.read_text().splitlines(True) if json.loads(line)["type"] != lost))
    learned = MEASURED.learned_from(jobs.list_runs(tmp_path), kind_of(BASE, PLAN), (160, 40))
    assert (learned.start_seconds, learned.before_seconds, learned.epoch_seconds) == (UNKNOWN_START, 4, 2)


def test_a_run_logs_how_long_each_of_its_phases_took(tmp_path):
    data, model = make_dataset(tmp_path / "data", 6), make_model(tmp_path / "base")
    finetune(data, model, Plan(epochs=1), tmp_path / "runs" / "mine", progress=False)
    events = read_events(tmp_path / "runs" / "mine" / "events.jsonl")
    phases = {event["phase"]: event["seconds"] for event in events if event["type"] == "phase"}
    assert list(phases) == ["reading", "loading", "caching", "baseline", "training", "saving"]
    assert all(seconds >= 0 for seconds in phases.values()) and events[-1]["type"] == "end"
    (run,) = jobs.list_runs(tmp_path / "runs")
    assert run.options and run.plan
    learned = MEASURED.learned_from([run], kind_of(run.options.model, run.plan), (12, 6))
    once = sum(phases[key] for key in ("reading", "loading", "baseline", "saving"))
    assert learned.start_seconds == pytest.approx(once)


def test_a_launched_process_logs_how_long_it_took_to_start(tmp_path):
    data = make_dataset(tmp_path / "data", 6)
    model = make_model(tmp_path / "base")
    folder = RunFolder(tmp_path / "runs" / "mine")
    create_run(folder, Options(str(data), model.source, str(tmp_path / "made")), Plan(epochs=1).resolved())
    state = json.loads(folder.state.read_text())
    folder.state.write_text(json.dumps({**state, "updated": state["updated"] - 20}))
    finetune(data, model, run_dir=folder.path, resume=True, progress=False)
    first = read_events(folder.events)[0]
    assert first["phase"] == "starting" and 20 <= first["seconds"] < 60
