"""Train the bundled Vision Transformer: a random start that learns from a teacher's tokens, attention and logits.

    python -m explorer.training.distil.train --data FOLDER_OF_ZIPS --teacher WEIGHTS --out RUN_FOLDER

The same command resumes a run. docs/bundled.md explains the recipe.
"""

import argparse
import copy
import json
import os
import random
import signal
import time
import tomllib
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import load_file
from timm.data.imagenet_info import ImageNetInfo
from torch import Tensor, nn

from explorer.files import whole_file
from explorer.training.distil.data import (
    MEAN,
    STD,
    Augmentation,
    PhotoStore,
    build_store,
    centre_crop,
    find_archives,
    normalise,
    training_batch,
)
from explorer.training.distil.losses import (
    ViT,
    blockwise_losses,
    embedding_loss,
    forward_states,
    freeze,
    new_student,
    unexplained_variance,
    whole_losses,
)
from explorer.training.runs.snapshots import save_tensors

TEACHER = "deit_tiny_patch16_224"
WARMUP_STEPS = 50
CLS_LR_SCALE = 10
IMAGE_SIZE, PATCH_SIZE = 224, 16
LOG_SECONDS, SAVE_SECONDS, VALIDATE_SECONDS = 60, 180, 600


@dataclass(frozen=True)
class Phase:
    """One stretch of training; learning rates go from the first value to the second in a straight line."""

    name: str  # "blocks": every part on the teacher's tokens; "whole": the student on its own
    images: int
    size: int
    batch: int
    muon_lr: tuple[float, float]
    adamw_lr: tuple[float, float]
    patches: int = 0  # so many patches of each image are kept, at random, the others left out; 0: all


@dataclass(frozen=True)
class Recipe:
    """Everything in the config file."""

    seed: int
    threads: int
    validate_photos: int
    ema_images: int
    student: dict[str, int]
    weights: dict[str, float]
    augmentation: Augmentation
    phases: tuple[Phase, ...]


def read_recipe(path: Path) -> Recipe:
    """Read the config file."""
    values = tomllib.loads(path.read_text())
    phases = tuple(Phase(**phase) for phase in values.pop("phase"))
    return Recipe(augmentation=Augmentation(**values.pop("augmentation")), phases=phases, **values)


def phase_at(recipe: Recipe, images: int) -> tuple[Phase, float] | None:
    """Return the phase that the image count falls into and the share of it that is done; None after the last."""
    for phase in recipe.phases:
        if images < phase.images:
            return phase, images / phase.images
        images -= phase.images
    return None


def new_optimizers(student: ViT) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer, nn.Parameter]:
    """Muon for the matrices, AdamW for position embedding, norms and biases, and the patch embedding as a matrix.

    torch's Muon takes matrices only, so the patch embedding's convolution is given to it as a view of two axes, whose
    gradient the training step sets.
    """
    patches = student.patch_embed.proj.weight
    flat = nn.Parameter(patches.detach().flatten(1))
    matrices = [p for p in student.parameters() if p.ndim == 2] + [flat]
    rest = [p for p in student.parameters() if p.ndim != 2 and p is not patches and p is not student.cls_token]
    muon = torch.optim.Muon(matrices, lr=0.01, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    # The teacher's cls token holds one number near 14, a thousand steps away from a start near 0.
    groups = [{"params": rest}, {"params": [student.cls_token], "lr_scale": CLS_LR_SCALE}]
    return muon, torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.98), weight_decay=0), flat


class Trainer:
    """The state of a run, which lives in its folder."""

    def __init__(self, recipe: Recipe, store: PhotoStore, teacher: ViT, out: Path, device: torch.device):
        torch.manual_seed(recipe.seed)
        self.recipe, self.store, self.out, self.device = recipe, store, out, device
        self.teacher = freeze(teacher).to(device)
        self.student = new_student(**recipe.student).to(device)
        self.average = freeze(copy.deepcopy(self.student))
        *self.optimizers, self.flat_patches = new_optimizers(self.student)
        self.images = self.steps = 0
        self.trained_seconds = 0.0
        self.stopping = False
        self.drawer = ThreadPoolExecutor(1)
        self.drawing: tuple[Phase, int] | None = None
        self.drawn: Future[Tensor] | None = None
        self.train_numbers, held_out = store.split()
        weights = [recipe.weights.get(store.name(i).split("/")[0], 1.0) for i in self.train_numbers]
        self.odds = np.array(weights) / sum(weights)
        self.validation = random.Random(recipe.seed).sample(held_out, min(recipe.validate_photos, len(held_out)))

    def save(self) -> None:
        """Write the run's state, all or nothing."""
        state = {
            "student": self.student.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "counts": (self.images, self.steps, self.trained_seconds),
        }
        with whole_file(self.out / "state.pt") as partial:
            torch.save(state, partial)

    def resume(self) -> None:
        """Take up the state that an earlier run left in the folder, if any."""
        if not (self.out / "state.pt").exists():
            return
        state = torch.load(self.out / "state.pt", map_location=self.device, weights_only=True)
        self.student.load_state_dict(state["student"])
        self.average.load_state_dict(state["average"])
        for optimizer, values in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(values)
        self.images, self.steps, self.trained_seconds = state["counts"]

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16)

    def draw(self, phase: Phase, step: int) -> Tensor:
        """Draw the batch of a step; the same seed and step give the same batch, also after a resume."""
        rng = np.random.default_rng((self.recipe.seed, step))
        numbers = rng.choice(self.train_numbers, phase.batch, p=self.odds).tolist()
        return training_batch(self.store, numbers, phase.size, self.recipe.augmentation, rng)

    def batch(self, phase: Phase) -> Tensor:
        """Return this step's batch, and have the next one of the phase drawn in a thread of its own meanwhile."""
        wanted = (phase, self.steps)
        ready = self.drawn.result() if self.drawing == wanted and self.drawn else self.draw(*wanted)
        self.drawing = (phase, self.steps + 1)
        self.drawn = self.drawer.submit(self.draw, *self.drawing)
        return ready.to(self.device, non_blocking=True)

    def kept_tokens(self, phase: Phase) -> Tensor | None:
        """Draw this step's indices of the tokens to keep, cls first; None for all.

        Both models then see fewer patches at the positions and the detail of the full size: a third of the cost.
        """
        if not phase.patches:
            return None
        count = (phase.size // PATCH_SIZE) ** 2
        drawn = np.random.default_rng((self.recipe.seed, self.steps, 1)).permutation(count)[: phase.patches] + 1
        return torch.from_numpy(np.insert(np.sort(drawn), 0, 0)).to(self.device)

    def set_rates(self, phase: Phase, done: float) -> None:
        """Set both learning rates for this step."""
        warmup = min(1.0, (self.steps + 1) / WARMUP_STEPS)
        for optimizer, (first, last) in zip(self.optimizers, (phase.muon_lr, phase.adamw_lr), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = group.get("lr_scale", 1) * warmup * (first + (last - first) * done)

    def step(self, phase: Phase, done: float) -> dict[str, Tensor]:
        """Train on one batch and return its losses."""
        images, kept = self.batch(phase), self.kept_tokens(phase)
        with self.autocast():
            with torch.no_grad():
                target = forward_states(self.teacher, images, kept)
            losses = (blockwise_losses if phase.name == "blocks" else whole_losses)(self.student, target, images, kept)
            if phase.size != IMAGE_SIZE:
                losses["embed"] = embedding_loss(self.student, self.teacher, images[: phase.batch // 4], IMAGE_SIZE)
        patches = self.student.patch_embed.proj.weight
        self.flat_patches.grad = patches.grad.flatten(1)
        patches.grad = None
        self.set_rates(phase, done)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self.images += phase.batch
        self.steps += 1
        self.update_average(phase.batch)
        return {name: loss.detach() for name, loss in losses.items()}

    @torch.no_grad()
    def update_average(self, images: int) -> None:
        """Move the averaged weights towards the student's, faster at the start of a run."""
        share = images / min(self.recipe.ema_images, max(self.images / 4, images))
        for average, current in zip(self.average.parameters(), self.student.parameters(), strict=True):
            average.lerp_(current, share)

    @torch.no_grad()
    def validate(self, size: int = IMAGE_SIZE, batch: int = 50) -> str:
        """Compare the averaged student with the teacher on held-out photos, as a line for the log."""
        top1 = top5 = tokens = 0.0
        for start in range(0, len(self.validation), batch):
            numbers = self.validation[start : start + batch]
            images = normalise(torch.stack([centre_crop(self.store.photo(i), size) for i in numbers])).to(self.device)
            with self.autocast():
                target, states = forward_states(self.teacher, images), forward_states(self.average, images)
            best = target.logits.argmax(-1, keepdim=True)
            ranks = states.logits.topk(5).indices == best
            top1 += ranks[:, 0].sum().item()
            top5 += ranks.sum().item()
            tokens += unexplained_variance(states.blocks[-1].out, target.blocks[-1].out).item() * len(numbers)
        count = len(self.validation)
        return (
            f"held out: teacher's top-1 met {top1 / count:.3f}, in top-5 {top5 / count:.3f}, "
            f"last tokens missed {tokens / count:.3f}"
        )

    def log_line(self, phase: Phase, history: list[dict[str, Tensor]], seconds: float) -> str:
        """Sum up the steps since the last line, losses as means over the steps that had them."""
        means = {name: [float(losses[name]) for losses in history if name in losses] for name in history[-1]}
        return (
            f"{time.strftime('%H:%M:%S')} {phase.name} {phase.size} px, {self.images:,} images, "
            f"{len(history) * phase.batch / seconds:.0f} a second, "
            f"lr {self.optimizers[0].param_groups[0]['lr']:.4f}: "
            + " ".join(f"{name} {sum(values) / len(values):.4f}" for name, values in means.items())
        )

    def train(self) -> None:
        """Train to the end of the recipe, logging, saving and validating as time goes by."""
        history: list[dict[str, Tensor]] = []
        logged = saved = validated = begun = time.monotonic()
        while not self.stopping and (now := phase_at(self.recipe, self.images)):
            history.append(self.step(*now))
            clock = time.monotonic()
            if clock - logged >= LOG_SECONDS:
                print(self.log_line(now[0], history, clock - logged), flush=True)
                self.trained_seconds += clock - begun
                begun = logged = clock
                history = []
            if clock - saved >= SAVE_SECONDS:
                self.save()
                saved = clock
            if clock - validated >= VALIDATE_SECONDS:
                print(self.validate(), flush=True)
                validated = clock
        self.trained_seconds += time.monotonic() - begun
        self.save()
        if not self.stopping:
            print(self.validate(), flush=True)


def load_teacher(path: Path) -> ViT:
    """Load DeiT-Tiny/16, ready for any image size."""
    teacher = timm.create_model(TEACHER, dynamic_img_size=True)
    teacher.load_state_dict(load_file(path))
    return teacher


def label_names() -> list[str]:
    """Return ImageNet's 1,000 class names in the usual order, the first name of each."""
    info = ImageNetInfo()
    return [info.index_to_description(i).split(",")[0] for i in range(info.num_classes())]


def config_of(model: ViT) -> dict:
    """Describe the model in timm's hub format."""
    block = model.blocks[0]
    return {
        "architecture": "vit_tiny_patch16_224",
        "num_classes": model.num_classes,
        "num_features": model.num_features,
        "global_pool": "token",
        # num_classes stays out of model_args: transformers would receive it twice.
        "model_args": {"depth": len(model.blocks), "embed_dim": model.embed_dim, "num_heads": block.attn.num_heads},
        "pretrained_cfg": {
            "tag": "bundled",
            "custom_load": False,
            "input_size": [3, 224, 224],
            "fixed_input_size": True,
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": list(MEAN),
            "std": list(STD),
            "num_classes": model.num_classes,
            "pool_size": None,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        },
        "label_names": label_names(),
    }


def export(model: ViT, folder: Path) -> None:
    """Write config.json and model.safetensors (float16) into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    config = config_of(model)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    tensors = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    save_tensors(folder / "model.safetensors", tensors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="zip files of photos, or folders of them")
    parser.add_argument("--teacher", type=Path, required=True, help="DeiT-Tiny/16 as .safetensors with timm's names")
    parser.add_argument("--out", type=Path, required=True, help="run folder: state, photos, exported model")
    parser.add_argument("--config", type=Path, default=Path(__file__).with_suffix(".toml"))
    args = parser.parse_args()
    recipe = read_recipe(args.config)
    torch.set_num_threads(recipe.threads)
    if not (args.out / "photos.bin").exists():
        build_store(find_archives(args.data), args.out)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    trainer = Trainer(recipe, PhotoStore(args.out), load_teacher(args.teacher), args.out, device)
    trainer.resume()
    (args.out / "pid").write_text(str(os.getpid()))
    signal.signal(signal.SIGTERM, lambda *_: setattr(trainer, "stopping", True))
    trainer.train()
    if not trainer.stopping:
        export(trainer.average, args.out / "model")


if __name__ == "__main__":
    main()
