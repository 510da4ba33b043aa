"""The linear probe that a new head starts from: logistic regression on the frozen features.

A head drawn at random sends noise into the pretrained blocks until it has learnt something; one that is fitted first
leaves them what they know (Kumar et al. 2022, "Fine-Tuning can Distort Pretrained Features").
"""

import warnings
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import nn

INVERSE_PENALTY = 0.03  # scikit-learn's C: on a thousand photos .01 to .1 are equally good
MOST_ITERATIONS = 300


def fit_probe(features: np.ndarray, labels: np.ndarray, balanced: bool = False) -> tuple[np.ndarray, ...]:
    """(classes found in labels, weight "class width", bias "class") of a softmax over features (n, width).

    The penalty is on features of unit variance, so that their scale, which differs between models, doesn't matter.
    balanced: weigh classes by the inverse of their counts.
    """
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
def start_head(whole: Any, features: np.ndarray, labels: np.ndarray, balanced: bool = False) -> None:
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
