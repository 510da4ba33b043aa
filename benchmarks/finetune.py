"""Fine-tuning on the prefix cache beside a plain loop over the same frozen model, in one run.

    python -m benchmarks.finetune --data hymenoptera.zip --model bundled

The plain loop is what anyone would write first: decode, and every block for every image in every epoch. Its pictures
are decoded beforehand where that is noted, so that only arithmetic is compared.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from PIL import Image

from explorer.data.datasets import read_dataset
from explorer.data.splits import assign_splits
from explorer.models.backbone import Model
from explorer.models.loading import load_model
from explorer.training.batches import CachedInputs, epoch_seed, plan_batches
from explorer.training.cache import PrefixCache, build_cache, decode, finish_cache, plan_layout
from explorer.training.examples import Examples
from explorer.training.finetune import finetune
from explorer.training.loop import EVALUATED, Trainer, adamw, cosine
from explorer.training.plan import Plan
from explorer.training.split import Split, split_model

CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="../shared/data/datasets/hymenoptera.zip")
    parser.add_argument("--model", default="../shared/data/weights/deit_tiny_patch16_224.safetensors")
    parser.add_argument("--images-per-class", type=int, help="fewer training images, to try the script")
    parser.add_argument("--memory-images", type=int, default=5000, help="images of the memory measurement; 0 skips it")
    parser.add_argument("--trainer-only", metavar="FOLDER", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.trainer_only:
        return print(memory_of_a_run(args.model, Path(args.trainer_only)))
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["EXPLORER_QUEUE"] = scratch
        model = load_model(args.model, device="cpu")
        plan = Plan(images_per_class=args.images_per_class)
        data = assign_splits(read_dataset(args.data, out=Path(scratch) / "images"))
        examples = Examples.of(data, plan)
        print(f"{model.name}, {len(examples.train_images)} + {len(examples.val_images)} images, "
              f"{torch.get_num_threads()} threads")  # fmt: skip
        print(f"{'measure':<52} {'ours':>10} {'plain':>10} {'ratio':>7}  bound")
        head_only(args, model, examples, Path(scratch))
        last_block(model, examples, plan, Path(scratch))
        everything(model, examples, plan, Path(scratch))
        if args.memory_images:
            memory(args, Path(scratch))


def row(measure: str, ours: float, plain: float | None, ratio: float | None, bound: str, good: bool) -> None:
    shown = [f"{value:>10.3g}" if value is not None else " " * 10 for value in (ours, plain)]
    verdict = "ok" if good else "MISSED"
    print(f"{measure:<52} {shown[0]} {shown[1]} {'' if ratio is None else f'{ratio:.2f}':>7}  {bound} {verdict}")


def head_only(args: argparse.Namespace, model: Model, examples: Examples, scratch: Path) -> None:
    """The whole job of 70 epochs, from the zip to the checkpoint, beside one forward pass over images and mirrors."""
    passes = [torch.cat([batch, batch.flip(-1)]) for batch in chunks(model, examples.train_images)]
    passes += list(chunks(model, examples.val_images))
    with torch.inference_mode():
        model.module(passes[0])
        plain = seconds(lambda: [model.module(part) for whole in passes for part in whole.split(32)])
    plan = Plan(epochs=70, images_per_class=args.images_per_class)
    began = time.perf_counter()
    finetune(args.data, model, plan, scratch / "head", progress=False)
    ours = time.perf_counter() - began
    row("head only, whole job of 70 epochs, s", ours, plain, ours / plain, "<= 1.5", ours <= 1.5 * plain)


def last_block(model: Model, examples: Examples, plan: Plan, scratch: Path) -> None:
    """Three epochs of the last block without augmentation: seconds per epoch, and how far the weights differ."""
    plan = Plan(train="last-1", epochs=3, augmentation="none", images_per_class=plan.images_per_class).resolved()
    trainer, val = cached_trainer(model, examples, plan, scratch)
    ours = [seconds(lambda epoch=epoch: cached_epoch(trainer, val, epoch)) for epoch in (1, 2, 3)]
    plain = PlainLoop(model, examples, plan)
    theirs = [seconds(lambda epoch=epoch: plain.epoch(epoch)) for epoch in (1, 2, 3)]
    ratio = min(theirs) / min(ours)
    row("last block, epoch with validation, s", min(ours), min(theirs), ratio, ">= 6", ratio >= 6)
    expected, got = plain.split.whole.state_dict(), trainer.split.whole.state_dict()
    worst = max(float((got[key] - expected[key]).abs().max()) for key in expected)
    row("last block, largest difference of a weight", worst, None, None, "<= 1e-4", worst <= 1e-4)


def everything(model: Model, examples: Examples, plan: Plan, scratch: Path) -> None:
    """All blocks trained: images per second of one epoch, after a first that warms up; both from decoded pixels."""
    plan = Plan(train="all", epochs=4, images_per_class=plan.images_per_class).resolved()
    few = Examples(examples.report, examples.train_images[::2], examples.train_labels[::2], examples.val_images[:32],
                   examples.val_labels[:32], examples.val_items[:32])  # fmt: skip
    trainer, val = cached_trainer(model, few, plan, scratch)
    plain = PlainLoop(model, few, plan, decoded=True)
    ours, theirs = [], []
    for epoch in (1, 2, 3):  # turn about, so that a machine that slows down slows both
        ours.append(seconds(lambda epoch=epoch: cached_epoch(trainer, val, epoch)))
        theirs.append(seconds(lambda epoch=epoch: plain.epoch(epoch)))
    count = len(few.train_images) + len(few.val_images)
    fast, slow = count / min(ours), count / min(theirs)
    row("everything, images/s", fast, slow, fast / slow, ">= 0.95", fast / slow >= 0.95)


class PlainLoop:
    """Every block for every image in every epoch; decoded=True keeps the pixels in memory."""

    def __init__(self, model: Model, examples: Examples, plan: Plan, decoded: bool = False):
        self.model, self.examples, self.plan = model, examples, plan
        names = list(examples.report.class_names)
        self.split = split_model(model, plan, names, model.input_size, CPU)
        steps = -(-len(examples.train_labels) // plan.batch_size)
        self.optimizer = adamw(self.split.whole, plan)
        self.scheduler, self.steps = cosine(self.optimizer, plan, steps * plan.epochs), 0
        self.pixels = {
            path: model.preprocess(path, fit="crop") for path in [*examples.train_images, *examples.val_images]
        }
        self.pixels = self.pixels if decoded else {}

    def read(self, path: Path) -> torch.Tensor:
        return self.pixels[path] if self.pixels else self.model.preprocess(path, fit="crop")

    def epoch(self, epoch: int) -> None:
        examples, plan, whole = self.examples, self.plan, self.split.whole
        self.split.train()
        for batch in plan_batches(
            len(examples.train_labels), plan.batch_size, plan.views, epoch_seed(plan.seed, epoch)
        ):
            pixels = [self.read(examples.train_images[i]) for i in batch.images]
            pixels = [p.flip(-1) if view else p for p, view in zip(pixels, batch.views, strict=True)]
            loss = F.cross_entropy(whole(torch.cat(pixels)), torch.from_numpy(examples.train_labels[batch.images]))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.steps += 1
            self.scheduler.step_update(self.steps)
        self.split.eval()
        with torch.no_grad():
            for start in range(0, len(examples.val_images), EVALUATED):
                whole(torch.cat([self.read(path) for path in examples.val_images[start : start + EVALUATED]]))


def cached_trainer(model: Model, examples: Examples, plan: Plan, scratch: Path) -> tuple[Trainer, CachedInputs]:
    names = list(examples.report.class_names)
    split = split_model(model, plan, names, model.input_size, CPU)
    train = cached(scratch / f"{plan.train}-train.bin", split, plan, model, examples.train_images, plan.views)
    val = cached(scratch / f"{plan.train}-val.bin", split, plan, model, examples.val_images, 1)
    return Trainer(Accelerator(cpu=True), split, plan, train, examples.train_labels, len(names)), val


def cached(path: Path, split: Split, plan: Plan, model: Model, images: list[Path], views: int) -> CachedInputs:
    layout = plan_layout(split, plan, len(images), views)
    list(build_cache(path, layout, split, model, images))
    finish_cache(path, layout)
    return CachedInputs(PrefixCache(path, layout), model, CPU)


def cached_epoch(trainer: Trainer, val: CachedInputs, epoch: int) -> None:
    list(trainer.train_epoch(epoch, lambda: False))
    trainer.logits(val)


def memory(args: argparse.Namespace, scratch: Path) -> None:
    """Peak memory of a process that trains the last two blocks on many synthetic photos, in GB."""
    draw = np.random.default_rng(0)
    for index in range(args.memory_images):
        folder = scratch / "many" / "ab"[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        small = draw.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(small).resize((240, 240)).save(folder / f"{index}.jpg")
    command = [sys.executable, "-m", "benchmarks.finetune", "--model", args.model]
    command += ["--trainer-only", str(scratch / "many")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    used = float(done.stdout.split()[-1])
    row(f"last two blocks, {args.memory_images:,} images, memory, GB", used, None, None, "<= 2", used <= 2)


def memory_of_a_run(model: str, folder: Path) -> float:
    """Peak resident memory of this process in GB, after one epoch on that folder."""
    import resource

    finetune(folder, model, Plan(train="last-2", epochs=1), folder.parent / "memory", progress=False)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e9 if sys.platform == "darwin" else 1e6)


def chunks(model: Model, images: list[Path]):
    return (model.normalise(torch.from_numpy(chunk)) for chunk in decode(model, images, model.input_size))


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
