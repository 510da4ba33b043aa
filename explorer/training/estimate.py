"""How long a plan will take and how much disk its cache needs, from a few timed images."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from statistics import median
from typing import Any

import numpy as np
import psutil
import torch
import torch.nn.functional as F

from explorer.data.images import ImageSource, open_image
from explorer.models.backbone import Model
from explorer.models.source import ModelSource
from explorer.training.batches import AugmentedInputs, loader_workers
from explorer.training.cache import plan_layout
from explorer.training.checkpoints import result_bytes
from explorer.training.examples import SPARE
from explorer.training.plan import Plan
from explorer.training.runs.jobs import Run
from explorer.training.split import split_model
from explorer.words import duration_in_words, size_in_words

TIMED = 8  # images
MOST_TOKENS = TIMED * 28**2  # of them together: above 224 pixels in patches of 8, fewer images are timed
REMEMBERED, LOOKED_AT = 5, 20  # runs of a kind that are learnt from, and of any kind that are looked through
ONCE = ("starting", "reading", "loading", "baseline", "saving")  # phases whose length depends little on the plan
UNKNOWN_START = 15.0  # seconds that those take on a usual laptop, where no run tells
REPEATS = 2  # the faster one counts
NEARLY = 0.9  # share of the time from which on people say "nearly all"


@dataclass(frozen=True)
class Estimate:
    """Seconds before the first epoch and for each epoch, and bytes of disk for cache, result and an epoch to keep.

    start_seconds: of the process's start and of all else that is done once, whatever the plan. uncached_seconds: for
    each epoch without a cache.
    """

    before_seconds: float
    epoch_seconds: float
    epochs: int
    cache_bytes: int
    kept_bytes: int
    start_seconds: float = 0.0
    uncached_seconds: float = 0.0
    result_bytes: int = 0

    @property
    def first_seconds(self) -> float:
        """Before the first epoch."""
        return self.start_seconds + self.before_seconds

    @property
    def seconds(self) -> float:
        return self.first_seconds + self.epochs * self.epoch_seconds

    def disk_bytes(self, plan: Plan) -> int:
        """What has to be free, or the run ends before it learns: see check_disk()."""
        return self.cache_bytes + _kept_epochs(plan) * self.kept_bytes + self.result_bytes + SPARE

    def learned_from(self, runs: Sequence[Run], kind: tuple, images: tuple[int, int]) -> "Estimate":
        """The same with what the newest finished runs took: of any kind for the start, of this kind for the rest.

        runs: the newest first. kind: kind_of() of the planned run. images: its numbers of training and validation
        images, to which the times of other runs are scaled.
        """
        timed = list(islice(((run, events) for run in runs if (events := _events_of(run))), LOOKED_AT))
        starts = [_start_seconds(events) for _, events in timed[:REMEMBERED]]
        alike = [events for run, events in timed if _kind_of_run(run) == kind]
        learned = replace(self, start_seconds=median(starts) if starts else UNKNOWN_START)
        if not alike:
            return learned
        scaled = [_scale_seconds(events, images) for events in alike[:REMEMBERED]]
        return replace(learned, before_seconds=median(s[0] for s in scaled), epoch_seconds=median(s[1] for s in scaled))


def estimate(
    model: Model, plan: Plan, class_names: Sequence[str], train: Sequence[ImageSource], val: int, device: str = "cpu"
) -> Estimate:
    """Time a few of the training images through each part of the plan; val is the number of validation images.

    Raises PlanError where the plan doesn't fit the model.
    """
    plan, place = plan.resolved(), torch.device(device)
    split = split_model(model, plan, list(class_names), plan.image_size or model.input_size, place)
    few = list(train[: max(1, min(TIMED, MOST_TOKENS // (split.size // model.patch_size) ** 2))])
    fitted = [np.array(model.fit(image, split.size, "crop")) for image in few]
    pixels = model.normalise(torch.from_numpy(np.stack(fitted)).to(place))
    inputs = split.prefix(pixels)
    labels = torch.zeros(len(few), dtype=torch.long, device=place)

    def learn() -> None:
        F.cross_entropy(split(inputs), labels).backward()

    def judge() -> None:
        with torch.no_grad():
            split(inputs)

    decode = _seconds(lambda: [model.fit(open_image(image), split.size, "crop") for image in few]) / len(few)
    prefix = _seconds(lambda: split.prefix(pixels)) / len(few)
    step, look = _seconds(learn) / len(few), _seconds(judge) / len(few)
    cached = 0 if plan.augmentation == "full" else len(train)
    before = (cached + val) * decode + (cached * plan.views + val) * prefix + val * look
    epoch = len(train) * step + val * look
    if plan.augmentation == "full":
        augmented = AugmentedInputs(few, model, split.size, place)
        draw = _seconds(lambda: [augmented.transform(open_image(image)) for image in few]) / len(few)
        epoch += len(train) * draw / max(1, loader_workers(len(train)))
    layouts = [plan_layout(split, plan, val, 1), plan_layout(split, plan, cached, plan.views)]
    cache, kept = sum(layout.bytes for layout in layouts), 2 * model.num_parameters
    again = epoch + (cached + val) * (decode + prefix)  # what the cache saves each epoch
    if plan.cache == "none":
        before, epoch, cache = val * (decode + prefix + look), again, 0
    result = result_bytes(split.whole)
    return Estimate(before, epoch, plan.epochs, cache, kept, uncached_seconds=again, result_bytes=result)


def cost_line(cost: Estimate, plan: Plan, free: int) -> str:
    """Time and disk, as Markdown: "About 40 s, 12 s of it before the first epoch … It takes 30 MB of disk …".

    free: bytes on the disk of the runs.
    """
    nearly = cost.first_seconds >= NEARLY * cost.seconds
    before = "nearly all" if nearly else duration_in_words(cost.first_seconds)
    line = (
        f"About **{duration_in_words(cost.seconds)}**, {before} of it before the first epoch; longer if the computer "
        "is busy."
    )
    if cost.cache_bytes:
        disk = size_in_words(cost.cache_bytes)
        made = size_in_words(cost.result_bytes)
        line += (
            f" It takes **{disk}** of disk while it runs, and what it makes **{made}** ({size_in_words(free)} free)."
        )
    if kept := _kept_epochs(plan):
        epochs = "1 epoch is" if kept == 1 else f"{kept} epochs are"
        line += f" {epochs} kept beside the result, which takes **{size_in_words(kept * cost.kept_bytes)}** for good."
    if plan.full_passes or plan.cache == "none":
        why = "no cache keeps what the frozen ones make of it"
        if plan.full_passes:
            why = "every block learns" if plan.train == "all" else "full augmentation makes new pictures each time"
        line += f" Every epoch runs every block on every image, because {why}."
    return line


def _kept_epochs(plan: Plan) -> int:
    return sum(plan.keeps(epoch) for epoch in range(1, plan.epochs + 1))


def cache_warning(cost: Estimate, free: int, memory: int | None = None) -> str:
    """What to do where the cache is too large for the disk or, in bytes, the memory; "" where it is neither."""
    memory = psutil.virtual_memory().total if memory is None else memory
    without = duration_in_words(cost.start_seconds + cost.epochs * cost.uncached_seconds)
    if cost.cache_bytes + SPARE > free:
        return (
            f"The cache needs {size_in_words(cost.cache_bytes + SPARE)} of disk but only {size_in_words(free)} are "
            f"free. Without a cache the training takes about {without} and no such room; or use fewer images per "
            "class, or train the classifier only."
        )
    if cost.cache_bytes > memory:
        return (
            f"The cache is larger than this computer's memory ({size_in_words(memory)}), so every epoch reads it from "
            f"the disk, which may take longer than estimated. Without a cache the training takes about {without}."
        )
    return ""


def kind_of(model: ModelSource, plan: Plan) -> tuple:
    """What decides how long an image takes: runs of one kind differ in the number of images and epochs alone."""
    return model, plan.train, plan.augmentation, plan.image_size, plan.cache


def _kind_of_run(run: Run) -> tuple | None:
    return kind_of(run.options.model, run.plan) if run.options and run.plan else None


def _events_of(run: Run) -> list[dict[str, Any]]:
    """The events of a run that ended well and tells its images, epochs and phases; none of any other."""
    events = run.events() if run.state.status == "finished" else []
    told = {event["phase"] if event["type"] == "phase" else event["type"] for event in events}
    return events if {"start", "epoch", "saving"} <= told else []


def _phases(events: list[dict[str, Any]]) -> dict[str, float]:
    """Seconds of each phase; of a run that was resumed, of its last process."""
    return {event["phase"]: event["seconds"] for event in events if event["type"] == "phase"}


def _start_seconds(events: list[dict[str, Any]]) -> float:
    return sum(_phases(events).get(phase, 0.0) for phase in ONCE)


def _scale_seconds(events: list[dict[str, Any]], images: tuple[int, int]) -> tuple[float, float]:
    """Seconds before the first epoch, and per epoch, for that many training and validation images."""
    start = next(event for event in events if event["type"] == "start")
    share = sum(images) / max(1, start["train_images"] + start["val_images"])
    epochs = [event["seconds"] for event in events if event["type"] == "epoch"]
    return share * _phases(events).get("caching", 0.0), share * median(epochs)


def _seconds(work: Callable[[], object]) -> float:
    """The fastest of a few repeats, after the first that pays for setting up."""
    work()
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)
