"""The training loop: optimizer, schedule, one epoch, one evaluation, on one process or many."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from jaxtyping import Float, Int
from timm.data.mixup import Mixup
from timm.optim import create_optimizer_v2  # pyright: ignore[reportPrivateImportUsage]
from timm.scheduler.cosine_lr import CosineLRScheduler
from torch import Tensor

from explorer.evaluation.metrics import scores
from explorer.training.batches import (
    AugmentedInputs,
    Batch,
    CachedInputs,
    UncachedInputs,
    epoch_seed,
    in_order,
    plan_batches,
)
from explorer.training.plan import Plan
from explorer.training.runs.events import Step
from explorer.training.split import Split

EVALUATED = 64  # images per step of evaluation
# Softmax cancels a bias added to all keys, so its gradient is rounding noise of about 1e-9; with Adam's usual 1e-8 that
# noise becomes whole steps, and two equal trainings would end with different (equally good) key biases.
EPSILON = 1e-6


class Stopped(Exception):
    """The person asked to stop; raised between two steps."""


class Trainer:
    """Trains a Split in place. `plan` must be resolved; labels (n,) belong to the images of `inputs`."""

    def __init__(
        self,
        accelerator: Accelerator,
        split: Split,
        plan: Plan,
        inputs: CachedInputs | UncachedInputs | AugmentedInputs,
        labels: np.ndarray,
        classes: int,
    ):
        self.accelerator, self.split, self.plan = accelerator, split, plan
        self.inputs, self.labels, self.classes = inputs, labels, classes
        optimizer = adamw(split.whole, plan)
        self.steps_an_epoch = -(-len(labels) // plan.batch_size)
        self.scheduler = cosine(optimizer, plan, self.steps_an_epoch * plan.epochs)
        self.model, self.optimizer = accelerator.prepare(split, optimizer)
        self.class_weights = class_weights(labels, classes, accelerator.device) if plan.class_weights else None
        mixes = plan.augmentation == "full" and plan.mixup > 0
        self.mixup = Mixup(plan.mixup, label_smoothing=plan.label_smoothing, num_classes=classes) if mixes else None

    def train_epoch(self, epoch: int, stop: Callable[[], bool]) -> Iterator[Step]:
        """Run epoch `epoch` (from 1), yielding after each step; raises Stopped. Afterwards see last_epoch."""
        seed = epoch_seed(self.plan.seed, epoch)
        torch.manual_seed(seed)  # dropout and stochastic depth, where a model has them
        np.random.seed(seed)  # mixup draws from numpy's global generator
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        batches = plan_batches(len(self.labels), self.plan.batch_size, self.plan.views, seed, rank, world)
        predicted = torch.zeros(len(self.labels), dtype=torch.long, device=self.accelerator.device)
        total, began = 0.0, time.perf_counter()
        self.model.train()
        number = (epoch - 1) * self.steps_an_epoch
        for batch, inputs in zip(batches, self.inputs.epoch(batches, seed), strict=True):
            if self.agree(stop()):
                raise Stopped
            lr = max(group["lr"] for group in self.optimizer.param_groups)
            start = (number % self.steps_an_epoch) * self.plan.batch_size
            size = min(self.plan.batch_size, len(self.labels) - start)
            loss = self._step(batch, inputs, predicted)
            number += 1
            self.scheduler.step_update(number)
            mean = float(self._sum(loss.detach())) / world
            total += mean * size
            yield Step(number, mean, lr)
        self.last_epoch = {
            "loss": total / len(self.labels),
            **scores(self.labels, self._sum(predicted).cpu().numpy(), self.classes),
        }
        self.last_seconds = time.perf_counter() - began

    def _step(self, batch: Batch, inputs: Tensor, predicted: Tensor) -> Tensor:
        """Forward, backward, update; returns this process's loss, scaled so that the processes' mean is the batch's."""
        labels = torch.from_numpy(self.labels[batch.images]).to(self.accelerator.device)
        targets = labels
        if self.mixup and len(labels) % 2 == 0:  # timm pairs the images of a batch
            inputs, targets = self.mixup(inputs, labels)
        logits = self.model(inputs)
        loss = self._loss(logits.float(), targets, labels, batch)
        self.accelerator.backward(loss)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if batch.weight:
            predicted[torch.from_numpy(batch.images).to(predicted.device)] = logits.detach().argmax(1)
        return loss

    def _loss(self, logits: Tensor, targets: Tensor, labels: Tensor, batch: Batch) -> Tensor:
        """Weighted mean cross entropy over the whole batch, of which this process holds a share."""
        smoothing = 0.0 if targets.ndim == 2 else self.plan.label_smoothing
        total = F.cross_entropy(logits, targets, self.class_weights, reduction="sum", label_smoothing=smoothing)
        counted = torch.ones(len(labels), device=labels.device)
        if self.class_weights is not None:
            counted = self.class_weights[labels]
        everyone = self._sum(counted.sum() * batch.weight)
        return total * batch.weight * self.accelerator.num_processes / everyone

    @torch.no_grad()
    def logits(self, inputs: CachedInputs | UncachedInputs) -> Float[np.ndarray, "image class"]:
        """Logits of every image of `inputs`, on every process."""
        self.model.eval()
        found = torch.zeros(len(inputs), self.classes, device=self.accelerator.device)
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        batches = in_order(len(inputs), EVALUATED, rank, world)
        for batch, given in zip(batches, inputs.epoch(batches, seed=0), strict=True):
            rows = torch.from_numpy(batch.images).to(found.device)
            found[rows] += batch.weight * self.split(given).float()
        return self._sum(found).cpu().numpy()

    def agree(self, wish: bool) -> bool:
        """Whether any process wants it, since all must leave a loop at the same step."""
        if self.accelerator.num_processes == 1:
            return wish
        return bool(self._sum(torch.tensor(float(wish), device=self.accelerator.device)) > 0)

    def _sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, on each of them."""
        total = self.accelerator.reduce(tensor)
        assert isinstance(total, Tensor)
        return total

    def state(self) -> dict[str, Any]:
        """Optimizer and schedule; order, views and augmentation follow from the plan's seed and the epoch."""
        return {"optimizer": self.optimizer.state_dict(), "scheduler": self.scheduler.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])

    def weights(self) -> dict[str, Tensor]:
        """A copy of all but the frozen parameters, by their names in the whole model; with what batch norms saw."""
        frozen = {name for name, parameter in self.split.whole.named_parameters() if not parameter.requires_grad}
        state = self.split.whole.state_dict()
        return {name: tensor.detach().cpu().clone() for name, tensor in state.items() if name not in frozen}

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        self.split.whole.load_state_dict(weights, strict=False)


def adamw(whole: torch.nn.Module, plan: Plan) -> torch.optim.Optimizer:
    """AdamW over what is trained, in timm's groups: no decay of biases and norms, layer-wise learning rates."""
    settings: dict[str, Any] = {"lr": plan.lr, "weight_decay": plan.weight_decay, "layer_decay": plan.layer_decay}
    return create_optimizer_v2(whole, "adamw", eps=EPSILON, **settings)


def cosine(optimizer: torch.optim.Optimizer, plan: Plan, steps: int) -> CosineLRScheduler:
    """A rise over the first `warmup` share of the steps, then half a cosine down to a hundredth of the peak."""
    assert plan.lr is not None
    return CosineLRScheduler(
        optimizer,
        t_initial=max(2, steps),
        lr_min=plan.lr / 100,
        warmup_t=round(plan.warmup * steps),
        warmup_lr_init=plan.lr / 100,
        t_in_epochs=False,
    )


def class_weights(labels: Int[np.ndarray, " image"], classes: int, device: torch.device) -> Float[Tensor, " class"]:
    """Weights in inverse proportion to the counts, their mean over the images 1."""
    counts = np.bincount(labels, minlength=classes)
    weights = len(labels) / (classes * np.maximum(counts, 1))
    return torch.tensor(weights, dtype=torch.float32, device=device)
