"""Training on the cache equals training on every block; a resumed run equals an unbroken one."""

import json
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from explorer.data.images import open_image
from explorer.errors import DataError, ExplorerError, PlanError, TrainingError
from explorer.models.source import ModelSource
from explorer.training.batches import AugmentedInputs, CachedInputs, UncachedInputs, epoch_seed, plan_batches
from explorer.training.cache import PrefixCache, build_cache, finish_cache, plan_layout
from explorer.training.finetune import finetune
from explorer.training.loop import Trainer, adamw, class_weights, cosine
from explorer.training.plan import Plan
from explorer.training.runs.events import EventLog, EventReader, epochs_of, read_events, rewind
from explorer.training.runs.folder import RunFolder, create_run, new_options
from explorer.training.split import split_model

NAMES = ["blue", "green", "red"]
CPU = torch.device("cpu")


def labelled(data):
    images = sorted(data.rglob("*.png"))
    return images, np.array([NAMES.index(path.parent.name) for path in images])


def train_cached(tmp_path, model, data, plan, epochs):
    images, labels = labelled(data)
    split = split_model(model, plan, NAMES, 32, CPU)
    layout, path = plan_layout(split, plan, len(images), plan.views), tmp_path / f"{plan.train}.bin"
    if plan.cache == "none":
        inputs = UncachedInputs(images, model, split)
    else:
        list(build_cache(path, layout, split, model, images))
        finish_cache(path, layout)
        inputs = CachedInputs(PrefixCache(path, layout), model, CPU)
    trainer = Trainer(Accelerator(cpu=True), split, plan, inputs, labels, len(NAMES))
    for epoch in range(1, epochs + 1):
        steps = list(trainer.train_epoch(epoch, lambda: False))
    return trainer, steps


def train_plain(model, data, plan, epochs):
    """The loop as anyone would write it: every block for every image in every epoch."""
    images, labels = labelled(data)
    whole = split_model(model, plan, NAMES, 32, CPU).whole
    optimizer = adamw(whole, plan)
    steps = -(-len(labels) // plan.batch_size)
    scheduler = cosine(optimizer, plan, steps * plan.epochs)
    number = 0
    for epoch in range(1, epochs + 1):
        for batch in plan_batches(len(labels), plan.batch_size, plan.views, epoch_seed(plan.seed, epoch)):
            views = [model.preprocess(images[i], fit="crop") for i in batch.images]
            views = [pixels.flip(-1) if view else pixels for pixels, view in zip(views, batch.views, strict=True)]
            loss = F.cross_entropy(
                whole(torch.cat(views)),
                torch.from_numpy(labels[batch.images]),
                class_weights(labels, len(NAMES), CPU) if plan.class_weights else None,
                label_smoothing=plan.label_smoothing,
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            number += 1
            scheduler.step_update(number)
    return whole


@pytest.mark.parametrize("train", ["head", "last-1", "last-2", "all"])
@pytest.mark.parametrize("augmentation", ["none", "flip"])
def test_same_weights_as_the_plain_loop(tmp_path, model, data, train, augmentation):
    plan = Plan(train=train, augmentation=augmentation, batch_size=8, epochs=3, class_weights=True).resolved()
    plan = replace(plan, label_smoothing=0.1)
    trainer, _ = train_cached(tmp_path, model, data, plan, 3)
    expected, got = train_plain(model, data, plan, 3).state_dict(), trainer.split.whole.state_dict()
    start = split_model(model, plan, NAMES, 32, CPU).whole.state_dict()
    assert not torch.allclose(got["head.weight"], start["head.weight"], atol=1e-3)
    for name, tensor in expected.items():
        torch.testing.assert_close(got[name], tensor, rtol=0, atol=1e-4, msg=name)


@pytest.mark.parametrize("train", ["head", "last-1", "all"])
def test_without_a_cache_the_weights_are_those_with_one(tmp_path, model, data, train):
    plan = Plan(train=train, batch_size=8, epochs=2, class_weights=True).resolved()
    cached, _ = train_cached(tmp_path, model, data, plan, 2)
    uncached, _ = train_cached(tmp_path / "none", model, data, replace(plan, cache="none"), 2)
    expected, got = cached.split.whole.state_dict(), uncached.split.whole.state_dict()
    for name, tensor in expected.items():
        torch.testing.assert_close(got[name], tensor, rtol=0, atol=1e-5, msg=name)
    logits = []
    for trainer in (cached, uncached):
        assert not isinstance(trainer.inputs, AugmentedInputs)
        logits.append(trainer.logits(trainer.inputs))
    np.testing.assert_allclose(logits[1], logits[0], atol=1e-4)


def test_a_run_without_a_cache_ends_with_the_same_numbers_and_no_file(tmp_path, model, data, monkeypatch):
    made = {}
    for cache in ("disk", "none"):
        monkeypatch.setattr("explorer.training.pipeline.build_cache", build_cache if cache == "disk" else None)
        plan = Plan(train="last-1", epochs=2, cache=cache)
        made[cache] = finetune(data, model, plan, tmp_path / "runs" / cache, progress=False)
    for key in ("loss", "accuracy", "knn_accuracy"):
        assert made["none"].metrics[key] == pytest.approx(made["disk"].metrics[key], abs=1e-4)


@pytest.mark.slow
def test_half_precision_cache_costs_no_accuracy(tmp_path, model, data):
    plan = Plan(train="last-1", epochs=8, batch_size=8, augmentation="none").resolved()
    full, _ = train_cached(tmp_path, model, data, plan, 8)
    half, _ = train_cached(tmp_path, model, data, replace(plan, cache_precision="float16"), 8)
    assert isinstance(half.inputs, CachedInputs) and half.inputs.cache.layout.dtype == "float16"
    assert half.last_epoch["accuracy"] == full.last_epoch["accuracy"]
    assert half.last_epoch["loss"] == pytest.approx(full.last_epoch["loss"], rel=1e-2)


def test_processes_share_each_batch():
    alone = plan_batches(21, 8, 2, seed=5)
    shares = [plan_batches(21, 8, 2, seed=5, rank=rank, world=2) for rank in range(2)]
    for whole, first, second in zip(alone, *shares, strict=True):
        assert sorted([*first.images, *second.images]) == sorted(whole.images)
    lonely = plan_batches(9, 8, 1, seed=5, rank=1, world=2)[-1]
    assert lonely.weight == 0.0 and len(lonely.images) == 1


def test_schedule_rises_and_falls_and_scales_by_layer(model):
    plan = Plan(train="last-2", epochs=10, lr=1e-2, warmup=0.2).resolved()
    split = split_model(model, plan, NAMES, 32, CPU)
    optimizer = adamw(split.whole, plan)
    scheduler = cosine(optimizer, plan, 100)
    rates = []
    for step in range(101):
        scheduler.step_update(step)
        rates.append(sorted({group["lr"] for group in optimizer.param_groups}))
    peaks = [rate[-1] for rate in rates]
    assert peaks[0] == pytest.approx(1e-4) and max(peaks[:30]) == pytest.approx(1e-2, rel=0.1)
    assert peaks[:20] == sorted(peaks[:20]) and peaks[21:] == sorted(peaks[21:], reverse=True)
    assert rates[20] == pytest.approx([peaks[20] * 0.75**i for i in (2, 1, 0)])
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.0, 0.05}


def test_class_weights_balance_the_counts():
    weights = class_weights(np.array([0, 0, 0, 1]), 2, CPU)
    assert weights.tolist() == pytest.approx([4 / 6, 2.0])


def test_augmented_pixels_depend_on_the_epoch_and_image_alone(model, data):
    images, _ = labelled(data)
    inputs = AugmentedInputs(images, model, 32, CPU)
    batches = plan_batches(len(images), 8, 1, seed=3)
    first, again = list(inputs.epoch(batches, 3)), list(inputs.epoch(batches[2:], 3))
    assert torch.equal(first[2], again[0])
    assert not torch.equal(first[2], next(inputs.epoch(batches[2:], 4)))
    assert first[0].shape == (8, 3, 32, 32)


def test_the_strongest_draw_of_every_augmentation_works(model, data):
    images, _ = labelled(data)
    picture = open_image(images[0])
    policy = AugmentedInputs(images, model, 32, CPU).transform.transforms[2]
    for op in policy.ops:
        op.magnitude, op.prob = 99, 1.0  # cut to the largest that a random draw can reach
        assert op(picture).size == picture.size


@pytest.mark.slow
def test_full_augmentation_with_mixup_learns(tmp_path, model, data):
    plan = Plan(train="all", augmentation="full", epochs=2, batch_size=9)
    result = finetune(data, model, plan, tmp_path / "run")
    assert result.status == "finished"
    events = read_events(tmp_path / "run" / "events.jsonl")
    assert [event["epoch"] for event in epochs_of(events)] == [1, 2]


def test_run_folder_holds_what_it_promises(tmp_path, model, data):
    plan = Plan(epochs=3, batch_size=8)
    seen = []
    result = finetune(data, model, plan, tmp_path / "run", progress=seen.append)
    folder = RunFolder(tmp_path / "run")
    names = {path.name for path in folder.path.iterdir()}
    files = {"config.json", "dataset.json", "events.jsonl", "state.json", "best.safetensors", "last.safetensors"}
    assert names >= files | {"metrics.json", "epochs.csv", "curves.html"} and "cache" not in names
    assert json.loads(folder.config.read_text())["plan"] == plan.resolved().to_dict()
    metrics = json.loads(folder.metrics.read_text())
    assert metrics == result.metrics
    keys = {"accuracy", "f1_macro", "f1_weighted", "loss", "best_epoch", "class_names", "confusion_matrix", "per_class"}
    assert metrics.keys() >= keys | {"baseline", "knn_accuracy"} and metrics["baseline"].keys() >= keys
    gain = metrics["over_neighbours"]
    assert gain["won"] - gain["lost"] == round(6 * (metrics["accuracy"] - metrics["knn_accuracy"]))
    assert metrics["class_names"] == NAMES and np.sum(metrics["confusion_matrix"]) == 6
    assert folder.read_state().status == "finished" and folder.read_state().progress == 1.0
    assert {state.phase for state in seen} >= {"reading", "caching", "baseline", "training", "saving"}
    events = read_events(folder.events)
    steps, epochs = [e for e in events if e["type"] == "step"], epochs_of(events)
    assert [step["step"] for step in steps] == list(range(1, 13)) and {"loss", "lr", "epoch"} <= steps[0].keys()
    wanted = {f"{side}_{key}" for side in ("train", "val") for key in ("loss", "accuracy", "f1_macro", "f1_weighted")}
    assert epochs[0].keys() >= wanted | {"images_per_second", "seconds_left"}
    kinds = [event["type"] for event in events if event["type"] != "phase"]
    assert kinds[:2] == ["start", "baseline"] and kinds[-1] == "end"
    best = min(epochs, key=lambda epoch: epoch["val_loss"])
    assert best["epoch"] == metrics["best_epoch"] and metrics["loss"] == pytest.approx(best["val_loss"], abs=1e-6)
    assert metrics["loss"] < metrics["baseline"]["loss"]
    assert (folder.path / "epochs.csv").read_text().count("\n") == 4
    page = (folder.path / "curves.html").read_text()
    # A script or style fetched from elsewhere; the text of Plotly's own bundle may hold other addresses.
    assert not re.search(r"<(script|link)\b[^>]*\b(src|href)=", page) and "Plotly.newPlot" in page


@pytest.mark.slow
@pytest.mark.parametrize("train", ["head", "last-1"])
def test_stopped_and_resumed_equals_unbroken(tmp_path, model, data, train):
    plan = Plan(train=train, epochs=5, batch_size=8)
    whole = finetune(data, model, plan, tmp_path / "whole")
    first = finetune(data, model, plan, tmp_path / "parts", stop_after=2)
    assert first.status == "stopped" and first.checkpoint is not None
    second = finetune(data, model, plan, tmp_path / "parts", resume=True)
    assert second.status == "finished" and second.metrics == whole.metrics
    for name in ("best", "last"):
        expected, got = (load_file(tmp_path / run / f"{name}.safetensors") for run in ("whole", "parts"))
        assert expected.keys() == got.keys() and all(torch.equal(expected[key], got[key]) for key in expected)
    losses = [
        [event["loss"] for event in read_events(tmp_path / run / "events.jsonl") if event["type"] == "step"]
        for run in ("whole", "parts")
    ]
    assert losses[0] == losses[1]


def test_stop_between_steps_keeps_the_best_so_far(tmp_path, model, data):
    folder = RunFolder(tmp_path / "run")

    def press_stop(state):
        if state.epoch == 2:
            folder.stop_request.touch()

    result = finetune(data, model, Plan(epochs=50, batch_size=8), folder.path, progress=press_stop)
    assert result.status == "stopped" and result.metrics["best_epoch"] in (1, 2)
    assert result.checkpoint is not None and (result.checkpoint / "model.safetensors").is_file()
    assert folder.read_state().status == "stopped"


def test_stop_before_the_first_step_leaves_no_checkpoint(tmp_path, model, data):
    folder = RunFolder(tmp_path / "run")
    result = finetune(data, model, Plan(), folder.path, progress=lambda state: folder.stop_request.touch())
    assert result.status == "stopped" and result.checkpoint is None
    assert finetune(data, model, Plan(epochs=1), folder.path, resume=True).status == "finished"


def test_a_stop_that_is_asked_for_while_the_process_starts_is_heard(tmp_path, model, data):
    folder = RunFolder(tmp_path / "run")
    plan = Plan(epochs=1).resolved()
    create_run(folder, new_options(folder, data, ModelSource("bundled")), plan)  # as the app leaves it to the process
    folder.stop_request.touch()
    assert finetune(data, model, plan, folder.path, resume=True).status == "stopped"
    assert finetune(data, model, plan, folder.path, resume=True).status == "finished", "an older request counts no more"


def test_early_stopping(tmp_path, model, data):
    plan = Plan(epochs=60, lr=1.0, batch_size=8, early_stopping=2)
    result = finetune(data, model, plan, tmp_path / "run")
    epochs = epochs_of(read_events(tmp_path / "run" / "events.jsonl"))
    assert result.status == "finished" and len(epochs) < 60 and len(epochs) == result.metrics["best_epoch"] + 2


def test_images_per_class(tmp_path, model, data):
    finetune(data, model, Plan(epochs=1, images_per_class=4), tmp_path / "run")
    events = read_events(tmp_path / "run" / "events.jsonl")
    start = next(event for event in events if event["type"] == "start")
    assert start["train_images"] == 12 and start["val_images"] == 6


def test_image_size_is_kept_in_the_checkpoint(tmp_path, model, data):
    from explorer.models.loading import load_model

    result = finetune(data, model, Plan(train="last-1", epochs=1, image_size=48), tmp_path / "run")
    assert load_model(str(result.checkpoint)).input_size == 48
    with pytest.raises(Exception, match="patch size 8") as caught:
        finetune(data, model, Plan(epochs=1, image_size=50), tmp_path / "odd")
    assert "50" in str(caught.value) and not (tmp_path / "odd").exists()


def test_diverging_loss_is_told(tmp_path, model, data):
    with pytest.raises(TrainingError, match="smaller learning rate"):
        finetune(data, model, Plan(train="all", epochs=3, lr=1e30, warmup=0.0), tmp_path / "run")
    assert RunFolder(tmp_path / "run").read_state().status == "failed"


def test_bad_data_fails_with_its_sentence(tmp_path, model):
    with pytest.raises(DataError):
        finetune(tmp_path / "missing.zip", model, Plan(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("source", "plan", "words"),
    [
        (None, Plan(train="last-9"), "3 blocks"),
        (None, Plan(image_size=50), "50"),
        ("nothing.pth", Plan(), "nothing.pth"),
    ],
)
def test_what_is_refused_before_training_leaves_no_run(tmp_path, model, data, source, plan, words):
    with pytest.raises(ExplorerError, match=words):
        finetune(data, source or model, plan, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert finetune(data, model, Plan(epochs=1), tmp_path / "run").status == "finished"


def test_a_folder_with_other_files_is_left_alone(tmp_path, model, data):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("mine")
    with pytest.raises(TrainingError, match="mine holds other files"):
        finetune(data, model, Plan(), tmp_path / "mine")
    assert [path.read_text() for path in (tmp_path / "mine").iterdir()] == ["mine"]


def test_a_taken_name_is_refused(tmp_path, model, data):
    finetune(data, model, Plan(epochs=1), tmp_path / "run")
    with pytest.raises(TrainingError, match="already a run named 'run'"):
        finetune(data, model, Plan(epochs=1), tmp_path / "run")
    with pytest.raises(TrainingError, match="Only a stopped, interrupted or failed"):
        finetune(data, model, Plan(epochs=1), tmp_path / "run", resume=True)
    with pytest.raises(TrainingError, match="already a checkpoint"):
        finetune(data, model, Plan(epochs=1), tmp_path / "new", checkpoint=tmp_path / "run" / "checkpoint")


def test_tensorboard_logs_are_written(tmp_path, model, data):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    finetune(data, model, Plan(epochs=1), tmp_path / "run", tensorboard=True)
    assert list((tmp_path / "run" / "tensorboard").glob("events.out.*"))


def test_tensorboard_that_is_not_installed_is_named(tmp_path, model, data, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(TrainingError, match="pip install tensorboard"):
        finetune(data, model, Plan(epochs=1), tmp_path / "run", tensorboard=True)


def epochs_and_steps(events):
    return [(event["epoch"], event["step"]) for event in events]


def test_a_growing_log_is_followed(tmp_path):
    reader = EventReader(tmp_path / "events.jsonl")
    assert reader.read() == []
    log = EventLog(tmp_path / "events.jsonl")
    log.emit("step", epoch=1, step=1, loss=0.5, lr=0.1)
    assert epochs_and_steps(reader.read()) == [(1, 1)]
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('{"type": "step", "epoch": 2')  # a line still being written
    assert epochs_and_steps(reader.read()) == [(1, 1)]
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write(', "step": 2, "loss": 0.5, "lr": 0.1}\n')
    assert epochs_and_steps(reader.read()) == [(1, 1), (2, 2)]
    (tmp_path / "events.jsonl").unlink()
    assert reader.read() == []


@pytest.mark.parametrize("more", [0, 1, 2, 40])
@pytest.mark.parametrize("ended", [False, True])
def test_a_log_is_followed_over_a_resume_however_much_was_added_since(tmp_path, more, ended):
    path = tmp_path / "events.jsonl"
    reader = EventReader(path)
    log = EventLog(path)
    for step in range(1, 7):
        log.emit("step", epoch=(step + 1) // 2, step=step, loss=0.5, lr=0.1)
    if ended:
        log.emit("end", status="stopped")
    log.close()
    assert len(reader.read()) == 6 + ended
    rewind(path, 2)
    log = EventLog(path)
    for step in range(5, 5 + more):  # the same steps again, and on
        log.emit("step", epoch=(step + 1) // 2, step=step, loss=0.5, lr=0.1)
    assert reader.read() == read_events(path)
    assert [step for _, step in epochs_and_steps(reader.read())] == list(range(1, 5 + more))


def test_bfloat16_trains_and_one_process_keeps_one_precision(tmp_path, model, data):
    AcceleratorState._reset_state(True)
    try:
        result = finetune(data, model, Plan(train="last-1", epochs=2, precision="bfloat16"), tmp_path / "half")
        assert result.metrics["loss"] < result.metrics["baseline"]["loss"]
        with pytest.raises(PlanError, match="precision float32 can't be used here"):
            finetune(data, model, Plan(epochs=1, precision="float32"), tmp_path / "full")
    finally:
        AcceleratorState._reset_state(True)
