"""What the model can do before any training: its untrained head, and neighbours among its frozen features."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from explorer.evaluation.metrics import knn_accuracy, report
from explorer.models.backbone import Model
from explorer.training.batches import AugmentedInputs, CachedInputs, in_order
from explorer.training.cache import decode
from explorer.training.examples import Examples
from explorer.training.split import Split

MOST_IMAGES = 2000  # training images that neighbours and probe learn from: more take long and change little


@dataclass(frozen=True)
class Features:
    """Frozen features (image, width) of validation images and of a part of the training images, with its labels."""

    train: np.ndarray
    train_labels: np.ndarray
    val: np.ndarray


def frozen_features(
    model: Model,
    split: Split,
    examples: Examples,
    train_inputs: CachedInputs | AugmentedInputs,
    val_inputs: CachedInputs,
    seed: int,
) -> Features:
    """What the pretrained model makes of the images, before any training; seed: draws which of many to take."""
    few = np.sort(np.random.default_rng(seed).permutation(len(examples.train_labels))[:MOST_IMAGES])
    train = _features(model, split.eval(), train_inputs, examples.train_images, few)
    val = _features(model, split.eval(), val_inputs, examples.val_images, np.arange(len(examples.val_labels)))
    return Features(train, examples.train_labels[few], val)


def measure_baseline(logits: np.ndarray, examples: Examples, features: Features) -> tuple[dict[str, Any], float]:
    """(metrics of the untrained head on the validation images, accuracy of neighbours on frozen features)."""
    labels = examples.val_labels
    metrics = {**report(logits, labels, examples.report.class_names), "best_epoch": 0}
    return metrics, knn_accuracy(features.train, features.train_labels, features.val, labels)


@torch.no_grad()
def _features(
    model: Model, split: Split, inputs: CachedInputs | AugmentedInputs, images: list, chosen: np.ndarray
) -> np.ndarray:
    """Pooled features (image, width) of the chosen images: from the cache, or from the files where there is none."""
    if isinstance(inputs, CachedInputs):
        batches = (chosen[batch.images] for batch in in_order(len(chosen), 64))
        rows = [split.features(inputs.read(batch, np.zeros(len(batch), int))) for batch in batches]
    else:
        chunks = decode(model, [images[index] for index in chosen], split.size)
        rows = [split.features(model.normalise(torch.from_numpy(chunk).to(split.device))) for chunk in chunks]
    return torch.cat(rows).float().cpu().numpy()
