"""The fine-tuning plan: every choice that decides how a model is trained, as one frozen dataclass."""

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, get_args, get_type_hints

from explorer.errors import PlanError

AUGMENTATIONS = ("none", "flip", "full")
HEADS = ("probe", "random")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
ACCELERATE_NAMES = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}
CACHE_PRECISIONS = ("auto", "float32", "float16")
CACHES = ("disk", "none")
# What trains steadily on sets of a few hundred to a few thousand photos: a fresh head alone can take large steps;
# the more pretrained weights move, the smaller the steps must be.
LEARNING_RATES = {"head": 5e-3, "last": 5e-4, "all": 2e-4}
LAYER_DECAY = 0.75  # BEiT's layer-wise decay for fine-tuning: each layer learns slower than the one above it


def _setting(default: Any, help: str, choices: tuple[str, ...] | None = None) -> Any:
    return field(default=default, metadata={"help": help, "choices": choices})


@dataclass(frozen=True)
class Plan:
    """How to fine-tune. None means: the default that suits `train`. Raises PlanError for impossible values."""

    train: str = _setting("head", "what is trained: head, last-N (the last N blocks and the head) or all")
    new_head: str = _setting("probe", "where a new head starts: a linear probe of the features, or random", HEADS)
    epochs: int = _setting(10, "passes over the training images")
    lr: float | None = _setting(None, "peak learning rate; default 5e-3 for head, 5e-4 for last-N, 2e-4 for all")
    layer_decay: float | None = _setting(None, "learning rate of each layer relative to the one above; default 0.75")
    warmup: float = _setting(0.1, "share of all steps in which the learning rate rises, before its cosine fall")
    batch_size: int = _setting(32, "images per step, over all processes together")
    weight_decay: float = _setting(0.05, "AdamW's weight decay, on matrices only")
    label_smoothing: float = _setting(0.0, "share of each target spread over all classes")
    class_weights: bool = _setting(False, "weigh classes by the inverse of their counts")
    augmentation: str = _setting("flip", "flip: mirrored views; full: RandAugment, crops and mixup", AUGMENTATIONS)
    mixup: float = _setting(0.2, "mixup's alpha, used by full augmentation only; 0 turns it off")
    image_size: int | None = _setting(None, "side of the input in pixels, whole patches; default: the model's own")
    early_stopping: int | None = _setting(None, "stop after this many epochs without a lower validation loss")
    keep_epochs: int | None = _setting(None, "keep the weights of every so many epochs, to compare; default: none")
    images_per_class: int | None = _setting(None, "train on at most this many images of each class")
    val_fraction: float = _setting(0.15, "share of the images held out where the data has no validation folder")
    seed: int = _setting(0, "seed of the split, the head, the order and the augmentation")
    precision: str = _setting("auto", "arithmetic; auto: bfloat16 on a CUDA device, else float32", PRECISIONS)
    cache: str = _setting("disk", "none: no cache, every epoch reads each image and runs the frozen blocks", CACHES)
    cache_precision: str = _setting("auto", "cached tokens; auto: float32 up to 1 GB, then float16", CACHE_PRECISIONS)

    def __post_init__(self) -> None:
        _check_types(self)
        _check_values(self)

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> "Plan":
        """A plan from a mapping such as config.json holds; raises PlanError for unknown keys."""
        known = [entry.name for entry in fields(cls)]
        for key in settings:
            if key not in known:
                close = difflib.get_close_matches(str(key), known, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}."
                raise PlanError(f"A plan has no setting {key!r}; {hint}")
        return cls(**settings)

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain values, ready for JSON."""
        return asdict(self)

    def used(self) -> dict[str, Any]:
        """The settings that take part in a training: those that are set, and of use with the others."""
        unused = {
            "mixup": self.augmentation != "full" or not self.mixup,
            "cache_precision": self.full_passes or self.cache == "none",
            "layer_decay": self.train == "head",
        }
        return {key: value for key, value in asdict(self).items() if value is not None and not unused.get(key)}

    def resolved(self) -> "Plan":
        """The same plan with lr and layer_decay filled in."""
        lr = LEARNING_RATES[self.train.split("-")[0]] if self.lr is None else self.lr
        layer_decay = (1.0 if self.train == "head" else LAYER_DECAY) if self.layer_decay is None else self.layer_decay
        return replace(self, lr=lr, layer_decay=layer_decay)

    def trained_blocks(self, depth: int) -> int:
        """How many of a model's `depth` blocks are trained, counted from the end; raises PlanError for too many."""
        if self.train == "head":
            return 0
        if self.train == "all":
            return depth
        blocks = int(self.train.removeprefix("last-"))
        if blocks > depth:
            raise PlanError(f"This model has {depth} blocks, so {self.train} is too many: use last-{depth} or all.")
        return blocks

    def keeps(self, epoch: int) -> bool:
        """Whether the weights of that epoch, counted from 1, stay beside the best ones."""
        return self.keep_epochs is not None and epoch % self.keep_epochs == 0

    @property
    def full_passes(self) -> bool:
        """Whether every epoch must run every block: new random pixels each time, or nothing frozen."""
        return self.train == "all" or self.augmentation == "full"

    @property
    def views(self) -> int:
        """Cached views per image: itself, and with flip its mirror image."""
        return 2 if self.augmentation == "flip" else 1


def _check_types(plan: Plan) -> None:
    for name, hint in get_type_hints(Plan).items():
        value, allowed = getattr(plan, name), get_args(hint) or (hint,)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if is_number and not math.isfinite(value):
            raise PlanError(f"{name} must be a finite number, not {value}.")
        fits = type(value) in allowed or (float in allowed and is_number)
        if not fits:
            wanted = " or ".join("none" if kind is type(None) else kind.__name__ for kind in allowed)
            raise PlanError(f"{name} must be {wanted}, not {value!r}.")


def _check_values(plan: Plan) -> None:
    if not re.fullmatch(r"head|all|last-[1-9][0-9]*", plan.train):
        raise PlanError(f"train must be head, all or last-N such as last-2, not {plan.train!r}.")
    for entry in fields(Plan):
        choices = entry.metadata["choices"]
        if choices and getattr(plan, entry.name) not in choices:
            raise PlanError(f"{entry.name} must be one of {', '.join(choices)}, not {getattr(plan, entry.name)!r}.")
    for name in ("epochs", "batch_size", "image_size", "early_stopping", "images_per_class", "keep_epochs"):
        value = getattr(plan, name)
        if value is not None and value < 1:
            raise PlanError(f"{name} must be at least 1, not {value}.")
    for name, low, high in (("warmup", 0, 1), ("label_smoothing", 0, 1)):
        value = getattr(plan, name)
        if not low <= value < high:
            raise PlanError(f"{name} must be from {low} up to, but not including, {high}, not {value}.")
    if not 0 < plan.val_fraction < 1:
        raise PlanError(f"val_fraction must lie between 0 and 1, not {plan.val_fraction}; 0.15 is usual.")
    if not 0 <= plan.seed < 2**32:
        raise PlanError(f"seed must be from 0 to {2**32 - 1}, not {plan.seed}.")
    if plan.weight_decay < 0 or plan.mixup < 0:
        raise PlanError("weight_decay and mixup can't be negative.")
    if plan.lr is not None and not plan.lr > 0:
        raise PlanError(f"lr must be more than 0, not {plan.lr}.")
    if plan.layer_decay is not None and not 0 < plan.layer_decay <= 1:
        raise PlanError(f"layer_decay must be more than 0 and at most 1, not {plan.layer_decay}.")
