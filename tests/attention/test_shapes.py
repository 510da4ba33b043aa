"""The shapes that the core's signatures promise, checked at run time by jaxtyping and beartype."""

import subprocess
import sys

import pytest
from beartype import beartype

from tests.conftest import REPOSITORY

CHECKED = """
from jaxtyping import install_import_hook

names = "ledger own_blocks readers recorded recording scores trace maps.relevance maps.gradient maps.legrad"
names += " maps.gradcam maps.integrated_gradients maps.occlusion"
names = [f"explorer.attention.{name}" for name in names.split()]
names += [f"explorer.rendering.{name}" for name in "colormaps comparison overlay patches view".split()]
names += ["explorer.attention.divergence", "explorer.attention.weights", "explorer.evaluation.metrics"]
with install_import_hook(names, "CHECKER"):
    import explorer
    from explorer.attention import ledger, own_blocks, readers, recorded, recording, scores
    from explorer.attention.maps import gradcam, gradient, integrated_gradients, legrad, occlusion, relevance
    from explorer.evaluation import metrics
    from explorer.rendering import comparison, overlay, patches, view
import numpy as np
import torch
from tests.tiny import photo, tiny_model
from tests.views import view_of

for settings in ({}, {"global_pool": "avg", "reg_tokens": 1}, {"class_token": False, "global_pool": "map"}):
    rec = explorer.record(tiny_model(**settings), photo(96, 64), fit="keep")
    second = explorer.record(rec.model, photo(96, 64, seed=9), fit="keep")
    for kind in rec.maps:
        few = {"steps": 2} if kind == "integrated_gradients" else {}
        assert rec.map(kind, **few).shape == (8, 12), kind
        if kind not in ("attention", "rollout"):
            rec.map(kind, similar_to=second, **few)
    rec.relevance(1), rec.rows(0), rec.heads(0), rec.matrix(0), rec.token_norms(0), rec.mass_mask(0), rec.probabilities
    shown = view_of(layer=1, mass=0.5, scale="shared", hide_artefacts=True)
    view.save_npz(shown, rec), view.png(shown.with_map("gradient"), rec), overlay.overlay(photo(), rec.attention(0))
    comparison.comparison_picture(shown, rec, rec), patches.marked_map(rec.attention(0), (1, 2))
    patches.token_lines(rec.tokens, 1, 2.0, 3)
    assert rec.ledger().heads.shape == (3, 4, len(rec.tokens)) and rec.ledger(similar_to=second).error < 1e-4

logits = np.random.default_rng(0).normal(size=(40, 3))
metrics.report(logits, np.arange(40) % 3, ["a", "b", "c"])
metrics.neighbours_vote(logits, np.arange(40) % 3, logits[:5])

try:
    readers.groups_of(torch.zeros(2, 3, 4), 1)
except Exception as error:
    print(type(error).__name__)
"""


@pytest.mark.slow
def test_what_the_core_takes_and_returns_has_the_shapes_of_its_signatures():
    code = CHECKED.replace("CHECKER", f"{beartype.__module__.partition('.')[0]}.{beartype.__name__}")
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "TypeCheckError" in done.stdout  # the check is on
