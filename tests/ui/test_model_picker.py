"""The box of models: what is on this machine comes first, the rest says how much it downloads; links keep the keys."""

import pytest
from huggingface_hub import constants

from explorer.models import registry
from explorer.ui.model_picker import box_labels
from tests.app import TINY, open_app, sentences


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch, checkpoints):
    """A hub cache with nothing in it, and the tiny model in checkpoints."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def put_in_cache(hub, repo_id: str) -> None:
    folder = hub / f"models--{repo_id.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("1" * 40)
    (folder / "snapshots" / ("1" * 40)).mkdir(parents=True)
    (folder / "snapshots" / ("1" * 40) / "model.safetensors").write_bytes(b"")


def test_what_is_here_comes_first_and_the_rest_names_its_download(empty_cache):
    labels = box_labels(registry.entries())
    assert list(labels)[:2] == ["bundled", TINY]
    assert labels["bundled"] == "Bundled ViT" and labels["dino-s8"] == "DINO ViT-S/8 · download 90 MB"
    assert set(labels) == {entry.key for entry in registry.entries()}
    put_in_cache(empty_cache, "timm/vit_base_patch16_224.mae")
    labels = box_labels(registry.entries())
    assert list(labels)[:3] == ["bundled", "mae-b16", TINY] and labels["mae-b16"] == "MAE ViT-B/16"


@pytest.mark.slow
@pytest.mark.parametrize("label", ["tiny.safetensors", "tiny.safetensors · download 90 MB"])
def test_a_label_is_its_model_also_after_the_download(label):
    app = open_app(model=label)
    assert not app.exception and not sentences(app)
    assert app.session_state["model"] == TINY
    assert app.query_params["model"] == TINY
