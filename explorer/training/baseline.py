"""Baselines before any training: the untrained head, nearest neighbours of the frozen features, a linear probe.

A new head starts as that probe, logistic regression on the frozen features: a head drawn at random sends noise into the
pretrained blocks until it has learnt something; one that is fitted first leaves them what they know (Kumar et al. 2022,
"Fine-Tuning can Distort Pretrained Features").
"""

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast
from jaxtyping import Float, Int
from torch import nn

from explorer.evaluation.metrics import neighbours_vote, report
from explorer.models.backbone import Model
from explorer.training.batches import AugmentedInputs, CachedInputs, UncachedInputs, in_order
from explorer.training.examples import Examples
from explorer.training.split import Split

MOST_IMAGES = 2000  # training images that neighbours and probe learn from: more take long and change little
INVERSE_PENALTY = 0.03  # scikit-learn's C: on a thousand photos .01 to .1 are equally good
MOST_ITERATIONS = 300


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
    train_inputs: CachedInputs | UncachedInputs | AugmentedInputs,
    val_inputs: CachedInputs | UncachedInputs,
    seed: int,
) -> Features:
    """What the pretrained model makes of the images, before any training; seed: draws which of many to take."""
    drawn = np.sort(np.random.default_rng(seed).permutation(len(examples.train_labels))[:MOST_IMAGES])
    if isinstance(train_inputs, AugmentedInputs):  # the photos as they are
        train_inputs = UncachedInputs(examples.train_images, model, split)
    train = _features(split.eval(), train_inputs, drawn)
    val = _features(split.eval(), val_inputs, np.arange(len(examples.val_labels)))
    return Features(train, examples.train_labels[drawn], val)


def measure_baseline(
    logits: Float[np.ndarray, "image class"], examples: Examples, features: Features
) -> tuple[dict[str, Any], Int[np.ndarray, " image"]]:
    """(metrics of the untrained head on the validation images, their classes by neighbours on frozen features)."""
    metrics = {**report(logits, examples.val_labels, examples.report.class_names), "best_epoch": 0}
    return metrics, neighbours_vote(features.train, features.train_labels, features.val)


@torch.no_grad()
def _features(split: Split, inputs: CachedInputs | UncachedInputs, chosen: np.ndarray) -> np.ndarray:
    """Pooled features (image, width) of the chosen images."""
    batches = [replace(batch, images=chosen[batch.images]) for batch in in_order(len(chosen), 64)]
    rows = [split.features(given) for given in inputs.epoch(batches, seed=0)]
    return torch.cat(rows).float().cpu().numpy()


def fit_probe(
    features: Float[np.ndarray, "image width"], labels: Int[np.ndarray, " image"], balanced: bool = False
) -> tuple[Int[np.ndarray, " class"], Float[np.ndarray, "class width"], Float[np.ndarray, " class"]]:
    """(classes found in labels, weight, bias) of a softmax over features.

    The penalty is on features of unit variance, so that their scale, which differs between models, doesn't matter.
    balanced: weigh classes by the inverse of their counts.
    """
    from sklearn.exceptions import ConvergenceWarning  # slow to import
    from sklearn.linear_model import LogisticRegression

    mean, deviation = features.mean(0), features.std(0) + 1e-6
    regression = LogisticRegression(
        C=INVERSE_PENALTY, max_iter=MOST_ITERATIONS, class_weight="balanced" if balanced else None
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # nearly fitted is a start as good
        regression.fit((features - mean) / deviation, labels)
    weight, bias = regression.coef_, regression.intercept_
    if len(weight) == 1:  # of two classes scikit-learn keeps the difference alone
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    weight = weight / deviation
    return regression.classes_, weight, bias - weight @ mean


@torch.no_grad()
def start_head(
    whole: Any, features: Float[np.ndarray, "image width"], labels: Int[np.ndarray, " image"], balanced: bool = False
) -> None:
    """Set the head to the probe, where it is one linear layer; classes without an image among the labels stay."""
    head = whole.get_classifier()
    if not isinstance(head, nn.Linear):
        return
    classes, weight, bias = fit_probe(features, labels, balanced)
    rows = torch.from_numpy(classes).to(head.weight.device)
    head.weight[rows] = torch.from_numpy(weight).to(head.weight)
    if head.bias is not None:
        head.bias[rows] = torch.from_numpy(bias).to(head.bias)


@torch.no_grad()
def share_head(whole: Any) -> None:
    """Give the head of the first process to all others of the launch."""
    heads = whole.get_classifier()
    for head in heads if isinstance(heads, tuple) else (heads,):
        for parameter in head.parameters():
            parameter.copy_(broadcast(parameter.detach().clone()))
