"""The page of a model: what it holds, what it refuses, and that its runtime is the one that was vendored."""

import gzip
import hashlib
import json
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

import explorer
from explorer.attention.recording import record
from explorer.errors import ModelError
from explorer.web.site import page
from explorer.web.site.export import export
from tests.tiny import photo, tiny_model


@pytest.mark.slow
@pytest.mark.parametrize("half", [False, True])
def test_onnx_gives_the_logits_and_the_recorders_q_and_k(half):
    model = tiny_model(reg_tokens=2)
    exported = export(model, half)
    session = onnxruntime.InferenceSession(exported.onnx)
    image = model.fit(photo())
    made: Any = session.run(None, {"pixels": model.pixels(image).numpy()})
    logits, q, k = made
    recording = record(model, image)
    assert recording.logits is not None
    close = 0.05 if half else 1e-4
    assert np.abs(logits[0] - recording.logits).max() < close * np.abs(recording.logits).max()
    for layer in range(model.depth):
        for found, ours in ((q, recording.q(layer)), (k, recording.k(layer))):
            assert np.abs(found[layer] - ours.numpy()).max() < close * float(ours.abs().max())
    assert exported.scales == tuple(recording.scale(layer) for layer in range(model.depth))


def test_the_runtime_is_the_vendored_one():
    told = json.loads((page.RUNTIME / "version.json").read_text())
    wasm = gzip.decompress((page.RUNTIME / "ort.wasm.gz").read_bytes())
    script = (page.RUNTIME / "ort.mjs").read_bytes()
    found = {"ort.wasm": wasm, "ort.mjs": script}
    assert {name: hashlib.sha256(content).hexdigest() for name, content in found.items()} == told["sha256"]
    assert told["license"] == "MIT" and "MIT License" in (page.RUNTIME / "LICENSE").read_text()


def test_what_cannot_become_a_page_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "kept.txt").write_text("mine")
    with pytest.raises(ModelError, match="exists already: give a new folder"):
        page.write_site(tiny_model(), tmp_path)
    monkeypatch.setattr(page, "LARGEST", 1000)
    with pytest.raises(ModelError, match="above the limit of 1 MB: choose a smaller model"):
        page.write_site(tiny_model(), tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


def test_a_bias_of_positions_is_refused_by_name():
    import timm

    from explorer.models.timm_models import wrap_timm

    torch.manual_seed(0)
    module = timm.create_model("beit_base_patch16_224", img_size=32, embed_dim=48, depth=1, num_heads=3, num_classes=3)
    with pytest.raises(ModelError, match="adds a bias to its attention"):
        export(wrap_timm(module, "beit", "beit_base_patch16_224"))


def test_names_are_text_in_the_page():
    model = explorer.Model(**{**vars(tiny_model()), "name": "<script>alert(1)</script>"})
    exported = page.Exported(b"", (1.0,), 16)
    text = page.page(model, exported, page.About(card='"><script>'), {})
    assert "<script>alert(1)" not in text and '"><script>' not in text
    settings = page.page_settings(model, exported, page.About())
    assert settings["answers"] == "It answers only ant, bee, German shepherd, shoe or boot, whatever the photo shows."
