"""The page of a model: what it holds, what it refuses, and that its runtime is the one that was vendored."""

import gzip
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

import explorer
from explorer.attention.recording import record
from explorer.errors import ModelError
from explorer.evaluation.metrics import report_of
from explorer.models.geometry import Geometry
from explorer.models.source import ModelSource
from explorer.training.plan import Plan
from explorer.training.runs.folder import Options, RunFolder, State, create_run
from explorer.training.runs.json_files import write_json
from explorer.web.site import page
from explorer.web.site.about import about_model
from explorer.web.site.export import export
from tests.tiny import photo, save_tiny, tiny_model


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
    contents = {path.name: path.read_bytes() for path in page.RUNTIME.glob("ort.*")}
    unpacked = {name.removesuffix(".gz"): gzip.decompress(content) if name.endswith(".gz") else content
                for name, content in contents.items()}  # fmt: skip
    found = {name: hashlib.sha256(content).hexdigest() for name, content in unpacked.items()}
    assert {"ort.mjs", "ort.wasm"} <= found.keys() and found.items() <= told["sha256"].items()
    assert told["license"] == "MIT" and "MIT License" in (page.RUNTIME / "LICENSE").read_text()


def test_what_cannot_become_a_page_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "kept.txt").write_text("mine")
    with pytest.raises(ModelError, match="exists already: give a new folder"):
        page.write_site(tiny_model(), tmp_path)
    monkeypatch.setattr(page, "ON_GPU", page.Files(runtime="not fetched"))
    with pytest.raises(ModelError, match="The runtime for WebGPU isn't here: run python"):
        page.write_site(tiny_model(), tmp_path / "new", webgpu=True)
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


@pytest.mark.slow
def test_an_oblong_input_is_exported_as_photos_are_fitted():
    model = explorer.Model(**{**vars(tiny_model(depth=1)), "geometry": Geometry.whole((96, 48), squash=False)})
    session = onnxruntime.InferenceSession(export(model, half=False).onnx)
    settings = page.page_settings(model, page.Exported(b"", (1.0,), 16), page.About())
    assert session.get_inputs()[0].shape[2:] == list(model.fit(photo()).size[::-1]) == [96, 48]
    assert settings["grid"] == (12, 6) and settings["preparation"]["input"] == (96, 48)


def test_names_are_text_in_the_page():
    model = explorer.Model(**{**vars(tiny_model()), "name": "<script>alert(1)</script>"})
    exported = page.Exported(b"", (1.0,), 16)
    text = page.page(model, exported, page.About(card='"><script>'), {})
    assert "<script>alert(1)" not in text and '"><script>' not in text
    settings = page.page_settings(model, exported, page.About())
    assert settings["answers"] == "It answers only ant, bee, German shepherd, shoe or boot, whatever the photo shows."


def test_the_accuracy_is_that_of_the_run_that_made_this_very_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPLORER_RUNS", str(tmp_path / "runs"))
    run, made = RunFolder(tmp_path / "runs" / "pets"), tmp_path / "checkpoints" / "pets"
    create_run(run, Options("data", ModelSource("bundled"), str(made)), Plan().resolved())
    scores = report_of(np.array([0, 1, 1, 1]), np.array([0, 1, 1, 0]), np.ones(4), ["ant", "bee"])
    write_json(run.metrics, {**scores, "baseline": scores, "best_epoch": 3, "knn_accuracy": 0.5})
    run.write_state(State("finished"))
    base = Path(save_tiny(tmp_path / "base"))
    config = json.loads((base / "config.json").read_text())
    origin = {"model": {"source": "bundled"}, "data": "data", "run": "pets"}
    write_json(base / "config.json", {**config, "trained_from": origin})
    for folder in (tmp_path / "another", made, made / "epochs" / "001"):  # which all call their run "pets"
        shutil.copytree(base, folder)
        model = explorer.Model(**{**vars(tiny_model()), "source": ModelSource(str(folder))})
        about = about_model(model)
        assert (about.accuracy, about.validated) == ((0.75, 4) if folder == made else (None, None))
    text = page.footer(
        model, page.Exported(b"", (1.0,), 16), page.About(accuracy=0.75, validated=4, unsure=0.6), whole=True
    )
    assert "It classified 75.0 % of 4 validation images correctly. Below 60 % the page calls it unsure." in text
