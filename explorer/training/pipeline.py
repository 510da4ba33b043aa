"""One run, step by step: read, load, cache, measure the baseline, train, keep the best, save."""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from explorer.data.report import DatasetReport
from explorer.errors import TrainingError
from explorer.evaluation.metrics import losses, predictions, report, scores
from explorer.evaluation.paired import Gain
from explorer.models.backbone import Model
from explorer.models.loading import load_model
from explorer.models.onnx import export_onnx
from explorer.models.source import TrainedFrom
from explorer.training.baseline import frozen_features, measure_baseline, share_head, start_head
from explorer.training.batches import AugmentedInputs, CachedInputs, UncachedInputs
from explorer.training.cache import PrefixCache, build_cache, cache_key, finish_cache, plan_layout, weights_key
from explorer.training.checkpoints import kept_bytes, result_bytes, save_checkpoint
from explorer.training.curves import write_csv, write_html
from explorer.training.examples import Examples, check_disk, read_examples
from explorer.training.loop import Stopped, Trainer
from explorer.training.plan import ACCELERATE_NAMES, CACHE_PRECISIONS, Plan
from explorer.training.runs.events import epochs_of, read_events
from explorer.training.runs.folder import Options, RunFolder
from explorer.training.runs.json_files import write_json
from explorer.training.runs.reporter import Reporter
from explorer.training.runs.snapshots import (
    Saved,
    keep_epoch,
    kept_epochs,
    load_saved,
    load_tensors,
    save_best,
    save_epoch,
    save_last,
)
from explorer.training.split import split_model


class Work:
    """One run from data to checkpoint. Every process of a launch does it; only the main one writes."""

    def __init__(
        self,
        folder: RunFolder,
        accelerator: Accelerator,
        reporter: Reporter,
        options: Options,
        plan: Plan,
        stop: Callable[[], bool],
        given: DatasetReport | None = None,
    ):
        self.folder, self.accelerator, self.reporter = folder, accelerator, reporter
        self.options, self.plan, self.stop, self.given = options, plan, stop, given
        self.main = accelerator.is_main_process

    def run(self, loaded: Model | None, stop_after: int | None) -> tuple[dict[str, Any], str]:
        """Returns (metrics, "finished" or "stopped"); raises Stopped where that came before the first step."""
        self.examples = self._read()
        self.reporter.update(phase="loading", progress=0.0)
        self.model = loaded or load_model(self.options.model, device="cpu")
        names, size = list(self.examples.report.class_names), self._size()
        self.split = split_model(self.model, self.plan, names, size, self.accelerator.device)
        self._open_inputs()
        self.trainer = Trainer(
            self.accelerator, self.split, self.plan, self.train_inputs, self.examples.train_labels, len(names)
        )
        self.saved = self._resume_or_begin()
        status = self._train(stop_after)
        self.reporter.update(phase="saving", progress=0.0)
        if self.main:
            save_last(self.folder, self.trainer.weights())
        self.accelerator.wait_for_everyone()  # the main process may still be writing the best weights
        if self.folder.best.is_file():
            self.trainer.load_weights(load_tensors(self.folder.best))
        logits = self.trainer.logits(self.val_inputs)
        metrics = self._save(logits, status) if self.main else {}
        self.accelerator.wait_for_everyone()
        return metrics, status

    def _read(self) -> Examples:
        """The main process reads and checks the data; the others take its report."""
        if self.main:
            stored = self.options.stored
            given = self.given or (Path(stored) if stored else None)
            read_examples(self.folder, self.options.data, self.plan, self._count, given)
        self.accelerator.wait_for_everyone()
        return Examples.load(self.folder, self.plan)

    def _count(self, done: int, total: int) -> None:
        self.reporter.update(progress=done / total)
        if self.stop():
            raise Stopped

    def _size(self) -> int:
        size = self.plan.image_size or self.model.input_size
        self.model.fit(self.examples.train_images[0], size, "crop")  # raises for a size that isn't whole patches
        return size

    def _open_inputs(self) -> None:
        """Make or reopen the caches; training images get none where every epoch sees fresh pixels or none is wanted."""
        device = self.accelerator.device
        wanted = {"val": (self.examples.val_images, 1), "train": (self.examples.train_images, self.plan.views)}
        if self.plan.augmentation == "full":
            del wanted["train"]
        if self.plan.cache == "none":
            wanted.clear()
        layouts, weights = {}, weights_key(self.model)
        for side, (images, views) in wanted.items():
            key = cache_key(weights, self.plan, images)
            layouts[side] = plan_layout(self.split, self.plan, len(images), views, key)
        if self.main:
            cached = sum(layout.bytes for layout in layouts.values())
            whole = self.split.whole
            check_disk(self.folder, cached, kept_bytes(whole, self.plan) + result_bytes(whole))
        self._fill({side: (layouts[side], images) for side, (images, _) in wanted.items()})
        opened = {
            side: CachedInputs(PrefixCache(self._cache_file(side), layout), self.model, device)
            for side, layout in layouts.items()
        }
        self.val_inputs = opened.get("val") or self._uncached(self.examples.val_images)
        self.train_inputs = opened.get("train") or (
            AugmentedInputs(self.examples.train_images, self.model, self.split.size, device)
            if self.plan.augmentation == "full"
            else self._uncached(self.examples.train_images)
        )

    def _uncached(self, images: Sequence[Path]) -> UncachedInputs:
        return UncachedInputs(images, self.model, self.split, self.accelerator.autocast)

    def _fill(self, wanted: dict[str, tuple]) -> None:
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        total = sum(len(images) for _, images in wanted.values()) // world
        began, before = time.perf_counter(), 0
        self.reporter.update(phase="caching", progress=0.0)
        for side, (layout, images) in wanted.items():
            done = 0
            with self.accelerator.autocast():
                for done in build_cache(self._cache_file(side), layout, self.split, self.model, images, rank, world):
                    self.reporter.count(before + done, total, began)
                    if self.accelerator.num_processes == 1 and self.stop():
                        raise Stopped
            before += done
        self.accelerator.wait_for_everyone()
        if self.main:
            for side, (layout, _) in wanted.items():
                finish_cache(self._cache_file(side), layout)
        self.accelerator.wait_for_everyone()

    def _cache_file(self, side: str) -> Path:
        return self.folder.cache / f"{side}.bin"

    def _resume_or_begin(self) -> Saved:
        """Go on from the last finished epoch, or measure the baseline before the first."""
        if self.folder.resume.is_file():
            saved, weights, state = load_saved(self.folder)
            self.trainer.load_weights(weights)
            self.trainer.load_state(state)
            return saved
        self.reporter.update(phase="baseline", progress=0.0)
        logits = self.trainer.logits(self.val_inputs)
        baseline, vote = self._measure_and_start_head(logits) if self.main else ({}, np.zeros(0, np.int64))
        self.accelerator.wait_for_everyone()
        share_head(self.split.whole)
        train, val = len(self.examples.train_images), len(self.examples.val_images)
        processes, steps = self.accelerator.num_processes, self.trainer.steps_an_epoch
        self.reporter.emit("start", train_images=train, val_images=val, steps_an_epoch=steps, processes=processes)
        knn = float((vote == self.examples.val_labels).mean()) if self.main else 0.0
        self.reporter.emit("baseline", metrics=baseline, knn_accuracy=knn)
        return Saved(baseline=baseline, knn_accuracy=knn, neighbours=vote.tolist())

    def _measure_and_start_head(self, logits: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
        """The untrained head's metrics and the neighbours' vote; only then is a new head set to the probe."""
        features = frozen_features(
            self.model, self.split, self.examples, self.train_inputs, self.val_inputs, self.plan.seed
        )
        if self.split.new_head and self.plan.new_head == "probe":
            start_head(self.split.whole, features.train, features.train_labels, self.plan.class_weights)
        return measure_baseline(logits, self.examples, features)

    def _train(self, stop_after: int | None) -> str:
        first = self.saved.epoch + 1
        self.reporter.update(phase="training", epoch=self.saved.epoch, progress=0.0)
        for epoch in range(first, self.plan.epochs + 1):
            try:
                self._train_epoch(epoch)
            except Stopped:
                return "stopped"
            if self.saved.patience_is_over(self.plan.early_stopping):
                break
            if stop_after and epoch - first + 1 >= stop_after and epoch < self.plan.epochs:
                return "stopped"
        return "finished"

    def _train_epoch(self, epoch: int) -> None:
        began, steps = time.perf_counter(), self.trainer.steps_an_epoch
        for step in self.trainer.train_epoch(epoch, self.stop):
            if not torch.isfinite(torch.tensor(step.loss)):
                raise TrainingError(f"The loss became infinite in epoch {epoch}; use a smaller learning rate.")
            self.reporter.step(epoch, step)
            self.reporter.update(progress=step.number / (steps * self.plan.epochs))
        logits, labels = self.trainer.logits(self.val_inputs), self.examples.val_labels
        val = {"loss": float(losses(logits, labels).mean()), **scores(labels, logits.argmax(1), logits.shape[1])}
        self.saved = self.saved.after(epoch, val["loss"])
        if self.main:
            if self.saved.best_epoch == epoch:
                save_best(self.folder, self.trainer.weights())
            if self.plan.keeps(epoch):
                keep_epoch(self.folder, epoch, self.trainer.weights())
            save_epoch(self.folder, self.saved, self.trainer.weights(), self.trainer.state())
        self._report_epoch(epoch, step.lr, val, time.perf_counter() - began)

    def _report_epoch(self, epoch: int, lr: float, val: dict[str, float], seconds: float) -> None:
        rate = len(self.examples.train_images) / self.trainer.last_seconds
        left = (self.plan.epochs - epoch) * seconds
        values = {"epoch": epoch, "seconds": seconds, "images_per_second": rate, "seconds_left": left, "lr": lr}
        values["best"] = self.saved.best_epoch == epoch
        values |= {f"train_{key}": float(value) for key, value in self.trainer.last_epoch.items()}
        values |= {f"val_{key}": float(value) for key, value in val.items()}
        self.reporter.epoch(values)
        self.reporter.update(epoch=epoch, images_per_second=rate, seconds_left=left)

    def _plan_as_carried_out(self) -> Plan:
        """The plan with the values that its "auto" settings were given."""
        cached = self.val_inputs.cache.layout.dtype if isinstance(self.val_inputs, CachedInputs) else ""
        names = {name: precision for precision, name in ACCELERATE_NAMES.items()}
        settings = {"precision": names[str(self.accelerator.mixed_precision)]}
        if cached in CACHE_PRECISIONS:  # pixels are kept as bytes, or nothing is
            settings["cache_precision"] = cached
        return replace(self.plan, **settings)

    def _write_results(self, logits: np.ndarray) -> None:
        """The curves and every prediction in the run's folder; logits (n, classes) of validation."""
        events, examples = read_events(self.folder.events), self.examples
        write_csv(self.folder.path / "epochs.csv", epochs_of(events))
        write_html(self.folder.path / "curves.html", self.folder.name, events, self.saved.baseline)
        rows = predictions(logits, examples.val_labels, examples.val_items, examples.report.class_names)
        write_json(self.folder.predictions, rows)

    def _over_neighbours(self, logits: np.ndarray) -> dict[str, Any]:
        """What the training gained over the nearest neighbours; nothing in a run from before their vote was kept."""
        labels, vote = self.examples.val_labels, np.array(self.saved.neighbours, np.int64)
        if len(vote) != len(labels):
            return {}
        gain = Gain.of(vote == labels, logits.argmax(1) == labels)
        return {"over_neighbours": {"won": gain.won, "lost": gain.lost}}

    def _save(self, logits: np.ndarray, status: str) -> dict[str, Any]:
        """Write all files for the best weights, which are loaded; logits (n, classes) of validation."""
        metrics = {
            **report(logits, self.examples.val_labels, self.examples.report.class_names),
            "best_epoch": self.saved.best_epoch,
            "baseline": dict(self.saved.baseline),
            "knn_accuracy": self.saved.knn_accuracy,
            **self._over_neighbours(logits),
        }
        self._write_results(logits)
        checkpoint, whole, size = Path(self.options.checkpoint), self.split.whole, self.split.size
        plan = self._plan_as_carried_out()
        origin = TrainedFrom(self.options.model, Path(self.options.data).name, self.folder.name)
        epochs = kept_epochs(self.folder)
        save_checkpoint(checkpoint, whole, self.model, size, plan, self.examples, metrics, origin, epochs)
        if self.options.onnx:
            export_onnx(whole, checkpoint / "model.onnx", size)
        write_json(self.folder.metrics, metrics)
        if status == "finished":
            for path in (self.folder.cache, self.folder.epochs):
                shutil.rmtree(path, ignore_errors=True)
        self.reporter.update(status=status, phase="", progress=1.0, seconds_left=None, checkpoint=str(checkpoint))
        self.reporter.emit("end", status=status)
        return metrics
