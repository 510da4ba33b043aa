"""A new head starts as a logistic regression on the frozen features, whatever their scale."""

from typing import Any

import numpy as np
import pytest
import timm
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from explorer.models.loading import load_model
from explorer.training.baseline import INVERSE_PENALTY, fit_probe, start_head
from explorer.training.examples import Examples
from explorer.training.finetune import finetune
from explorer.training.plan import Plan
from explorer.training.runs.events import read_events
from explorer.training.runs.folder import RunFolder

STANDING = {"epochs": 1, "lr": 1e-12, "augmentation": "none"}  # so small a rate that what is kept is the start


def points(classes: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    labels = draw.permutation(np.arange(40 * classes) % classes)
    return draw.normal(size=(len(labels), 6)) * [1, 2, 3, 1, 5, 1] + np.eye(classes, 6)[labels] * 3 + 1, labels


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("scale", [1e-2, 1, 1e3])
def test_probabilities_are_scikit_learns_at_any_scale(classes, scale):
    features, labels = points(classes)
    found, weight, bias = fit_probe(features * scale, labels)
    assert found.tolist() == list(range(classes)) and weight.shape == (classes, 6)
    got = torch.from_numpy(features * scale @ weight.T + bias).softmax(1).numpy()
    standard = StandardScaler().fit_transform(features)
    expected = LogisticRegression(C=INVERSE_PENALTY, max_iter=1000).fit(standard, labels).predict_proba(standard)
    np.testing.assert_allclose(got, expected, atol=2e-3)


def test_balanced_leans_to_the_rare_class():
    features, labels = points(2)
    kept = (labels == 0) | (np.arange(len(labels)) % 8 == 0)
    told = [
        np.mean(np.argmax(features @ weight.T + bias, 1)[labels == 1])
        for _, weight, bias in (fit_probe(features[kept], labels[kept], balanced) for balanced in (False, True))
    ]
    assert told[1] > told[0] + 0.1


def test_a_class_without_images_keeps_its_row():
    features, labels = points(3)
    whole: Any = timm.create_model(
        "vit_tiny_patch16_224", img_size=16, embed_dim=6, depth=1, num_heads=2, num_classes=4
    )
    weight, bias = whole.head.weight[3].clone(), whole.head.bias[3].clone()
    start_head(whole, features, labels)
    assert torch.equal(whole.head.weight[3], weight) and torch.equal(whole.head.bias[3], bias)
    _, weight, bias = fit_probe(features, labels)
    np.testing.assert_allclose(whole.head.weight[:3].detach(), weight, rtol=1e-5)
    np.testing.assert_allclose(whole.head.bias[:3].detach(), bias, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("train", ["head", "last-1", "all"])
def test_training_starts_from_the_probe(tmp_path, model, data, train):
    results = {
        start: finetune(data, model, Plan(train, new_head=start, **STANDING), tmp_path / start, progress=False)
        for start in ("probe", "random")
    }
    baseline = results["random"].metrics["baseline"]
    assert results["probe"].metrics["baseline"] == baseline
    assert results["random"].metrics["loss"] == pytest.approx(baseline["loss"], abs=1e-4)
    assert results["probe"].metrics["loss"] < 0.7 * baseline["loss"]
    events = read_events(tmp_path / "probe" / "events.jsonl")
    train_loss = next(event["train_loss"] for event in events if event["type"] == "epoch")
    assert train_loss == pytest.approx(probe_loss(model, tmp_path / "probe"), rel=0.02)


@torch.no_grad()
def probe_loss(model, run_dir) -> float:
    """Mean cross entropy of scikit-learn's own probe on the whole model's features of the run's training images."""
    examples = Examples.load(RunFolder(run_dir), Plan())
    pixels = torch.cat([model.preprocess(path, fit="crop") for path in examples.train_images])
    features = model.module.forward_head(model.module.forward_features(pixels), pre_logits=True).numpy()
    standard = StandardScaler().fit_transform(features)
    regression = LogisticRegression(C=INVERSE_PENALTY, max_iter=1000).fit(standard, examples.train_labels)
    return log_loss(examples.train_labels, regression.predict_proba(standard))


@pytest.mark.slow
def test_a_head_that_knows_the_classes_is_kept(tmp_path, model, data):
    first = finetune(data, model, Plan(epochs=2), tmp_path / "first", progress=False)
    assert first.checkpoint
    known = load_model(first.checkpoint, device="cpu")
    again = finetune(data, known, Plan(**STANDING), tmp_path / "again", progress=False)
    assert again.metrics["loss"] == pytest.approx(first.metrics["loss"], abs=1e-3)
    assert again.metrics["baseline"]["loss"] == pytest.approx(first.metrics["loss"], abs=1e-3)
