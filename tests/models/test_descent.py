"""Which models come from which, by their weights and by what a checkpoint says."""

from typing import Any

import torch

from explorer.models import registry
from explorer.models.descent import same_descent, trained_from
from explorer.models.source import ModelSource, TrainedFrom
from tests.tiny import tiny_model


def test_a_trained_copy_is_related_and_another_start_is_not():
    base, copy, other = tiny_model(seed=0), tiny_model(seed=0), tiny_model(seed=1)
    with torch.no_grad():
        for weights in copy.module.parameters():
            weights.add_(0.2 * weights.std() * torch.randn_like(weights))
    assert same_descent(base, base) and same_descent(base, copy) and same_descent(copy, base)
    assert not same_descent(base, other)


def test_a_copy_with_another_classifier_is_related():
    model, other = tiny_model(), tiny_model()
    module: Any = other.module
    module.reset_classifier(3)
    assert same_descent(model, other)


def test_other_widths_and_patches_are_not_related():
    assert not same_descent(tiny_model(), tiny_model(patch_size=16, seed=3))


def test_the_base_is_found_over_several_trainings_and_circles_end(monkeypatch):
    said = {"checkpoints/b": "checkpoints/a", "checkpoints/a": "bundled", "x": "y", "y": "x"}

    def says(source):
        return TrainedFrom(ModelSource(said[source]), "data", "run") if source in said else None

    monkeypatch.setattr(registry, "trained_from", says)
    models = {}
    for source in ("bundled", "checkpoints/a", "checkpoints/b", "x"):
        models[source] = tiny_model()
        object.__setattr__(models[source], "source", ModelSource(source))
    assert trained_from(models["checkpoints/b"], models["bundled"])
    assert trained_from(models["checkpoints/b"], models["checkpoints/a"])
    assert not trained_from(models["bundled"], models["checkpoints/b"])
    assert not trained_from(models["x"], models["bundled"])
