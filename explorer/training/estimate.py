"""How long a plan will take and how much disk its cache needs, from a few timed images."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from explorer.data.images import ImageSource, open_image
from explorer.models.backbone import Model
from explorer.training.batches import AugmentedInputs, loader_workers
from explorer.training.cache import plan_layout
from explorer.training.plan import Plan
from explorer.training.split import split_model

TIMED = 8  # images
REPEATS = 2  # the faster one counts


@dataclass(frozen=True)
class Estimate:
    """Seconds before the first epoch and for each epoch, and bytes of disk for the cache and for an epoch to keep."""

    before_seconds: float
    epoch_seconds: float
    epochs: int
    cache_bytes: int
    kept_bytes: int

    @property
    def seconds(self) -> float:
        return self.before_seconds + self.epochs * self.epoch_seconds


def estimate(
    model: Model, plan: Plan, class_names: Sequence[str], train: Sequence[ImageSource], val: int, device: str = "cpu"
) -> Estimate:
    """Time a few of the training images through each part of the plan; val is the number of validation images.

    Raises PlanError where the plan doesn't fit the model.
    """
    plan, place = plan.resolved(), torch.device(device)
    split = split_model(model, plan, list(class_names), plan.image_size or model.input_size, place)
    few = list(train[:TIMED])
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
    return Estimate(before, epoch, plan.epochs, cache, kept)


def _seconds(work: Callable[[], object]) -> float:
    """The fastest of a few repeats, after the first that pays for setting up."""
    work()
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)
