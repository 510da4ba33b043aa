"""What leaves the app: the script, the live page and the GIF show what the view showed."""

import io
import runpy
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.GifImagePlugin import GifImageFile

import explorer
from explorer.errors import QueryError
from explorer.rendering.gif import add_caption, layers_gif
from explorer.rendering.python_script import python_script
from explorer.rendering.view import paint, photo_of, png, save_npz
from explorer.web.live_page import live_page
from explorer.web.payload import canvas_script
from tests.conftest import REPOSITORY
from tests.tiny import photo, save_tiny, tiny_model
from tests.views import changed, view_of

VIEW = view_of(layer=1, head=2, query=(1, 3))


@pytest.fixture(scope="module")
def recording():
    return explorer.record(tiny_model(), photo())


@pytest.fixture(autouse=True)
def own_path(monkeypatch):
    """Scripts add the explorer's folder to the path."""
    monkeypatch.setattr(sys, "path", [*sys.path])


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a photo and a model that load_model opens."""
    folder = tmp_path_factory.mktemp("share")
    save_tiny(folder / "model")
    photo(90, 70).save(folder / "photo.png")
    photo(90, 70, seed=1).save(folder / "second.png")
    return folder


@pytest.mark.parametrize(
    "settings",
    [
        {"layer": 0, "head": 1, "query": (2, 5), "size": 48, "fit": "keep", "mass": 0.6, "width": 333},
        {"kind": "rollout", "discard_ratio": 0.2, "start_layer": 1, "scale": "raw", "image": "sample:cat"},
        {"kind": "relevance", "target": 2, "hide_artefacts": True},
        {"kind": "relevance", "similar_to": "sample:coffee"},
        {"kind": "relevance", "similar_to": "second.png", "image": "sample:cat"},
    ],
)
def test_the_script_reproduces_png_and_npz_byte_for_byte(saved, tmp_path, monkeypatch, settings):
    model = explorer.load_model(saved / "model", device="cpu")
    view = changed(view_of(str(saved / "model"), str(saved / "photo.png")), **settings)
    if view.map.other_image == "second.png":
        view = changed(view, similar_to=str(saved / "second.png"))
    image = photo_of(view.photo.image)
    recording = explorer.record(model, image, view.photo.size, view.photo.fit)
    (tmp_path / "view.py").write_text(python_script(view))
    monkeypatch.chdir("/")
    runpy.run_path(str(tmp_path / "view.py"), run_name="__main__")
    assert (tmp_path / "view.npz").read_bytes() == save_npz(view, recording)
    assert (tmp_path / "view.png").read_bytes() == png(view, recording, photo=image)


@pytest.mark.slow
def test_the_script_says_itself_where_the_explorer_lies(saved, tmp_path):
    (tmp_path / "view.py").write_text(python_script(view_of(str(saved / "model"), str(saved / "photo.png"))))
    run = subprocess.run(
        [sys.executable, str(tmp_path / "view.py")], cwd="/", capture_output=True, text=True, timeout=120,
        env={"OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert run.returncode == 0 and (tmp_path / "view.npz").is_file(), run.stderr


def test_the_script_finds_its_photo_from_any_folder_and_never_writes_over_it(saved, tmp_path, monkeypatch):
    (tmp_path / "kept").mkdir()
    photo(90, 70).save(tmp_path / "kept" / "view.png")
    before = (tmp_path / "kept" / "view.png").read_bytes()
    monkeypatch.chdir(saved)
    beside = python_script(view_of("model", "view.png"))
    elsewhere = python_script(view_of("model", "photo.png"), tmp_path / "kept")
    monkeypatch.chdir(tmp_path)
    for text, written in ((beside, "view-2.png"), (elsewhere, "view.npz")):
        (tmp_path / "kept" / "script.py").write_text(text)
        runpy.run_path(str(tmp_path / "kept" / "script.py"), run_name="__main__")
        assert (tmp_path / "kept" / written).is_file()
        if text is beside:
            assert (tmp_path / "kept" / "view.png").read_bytes() == before


def test_the_script_finds_a_checkpoint_of_a_folder_that_only_the_app_was_told_of(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(tmp_path / "models"))
    save_tiny(tmp_path / "models" / "mine")
    text = python_script(view_of("checkpoints/mine", "photo.png"))
    assert f"explorer.load_model({str(tmp_path / 'models' / 'mine')!r})" in text


def test_for_another_machine_no_folder_of_this_one_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(tmp_path / "models"))
    save_tiny(tmp_path / "models" / "mine")
    text = python_script(view_of("checkpoints/mine", "photo.png"), elsewhere=True)
    assert str(REPOSITORY) not in text and str(tmp_path) not in text and "sys.path" not in text
    assert "load_model(view.source.source)" in text and "here / view.photo.image" in text
    compile(text, "view.py", "exec")


def test_the_script_names_only_what_differs():
    text = python_script(VIEW)
    assert "explorer.MapChoice('attention', layer=1, head=2, query=(1, 3))" in text and "opacity" not in text
    compile(text, "view.py", "exec")


def test_the_script_quotes_what_people_type():
    view = changed(VIEW, image='it\'s "here"\n.png', kind="relevance", target="x')\nimport os")
    found = {}
    exec(python_script(view).split("model = ")[0], found)
    assert found["view"] == view


def test_the_script_names_the_map_itself():
    hidden = python_script(changed(VIEW, hide_artefacts=True))
    assert "without_artefacts(recording.map(view.map.kind, **view.map.settings), artefact_mask(rec" in hidden
    assert 'recording.map(view.map.kind, **view.map.settings | {"similar_to": other})' in python_script(
        changed(VIEW, kind="relevance", similar_to="other.png")
    )


def test_the_live_page_is_one_file_with_no_address_in_it(recording):
    page = live_page(VIEW, recording)
    assert canvas_script() in page and "photo.png" in page
    for word in ("http://", "https://", "src=", "@import", "fetch("):
        assert word not in page


def test_the_live_page_holds_every_layer_once(recording):
    page = live_page(VIEW, recording)
    assert page.count("<script data-file") == recording.depth - 1, "the shown one comes with the photo"


def test_a_large_layer_goes_alone_and_stays_below_five_megabytes(recording):
    # ViT-B/8 at 224 px: 785 tokens of width 768. The numbers don't matter here, their count does.
    call = replace(recording.calls[1], q=torch.randn(12, 785, 64), k=torch.randn(12, 785, 64))
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8))
    tokens = np.zeros((785, 768), np.float32)
    large = replace(recording, image=image, grid=(28, 28), calls=[call] * 12, tokens=tokens, norms=torch.ones(13, 785))
    page = live_page(VIEW, large)
    assert "<script data-file" not in page
    assert len(page.encode()) < 5_000_000


@pytest.mark.parametrize("kind", ["rollout", "relevance"])
def test_the_live_page_shows_only_what_it_can_compute(recording, kind):
    with pytest.raises(QueryError, match="shows attention, not"):
        live_page(changed(VIEW, kind=kind), recording)


@pytest.mark.parametrize("scale", ["map", "shared", "raw"])
def test_the_gif_has_one_named_frame_a_layer(recording, scale):
    image = GifImageFile(io.BytesIO(layers_gif(changed(VIEW, scale=scale), recording, fps=4, zoom=2)))
    assert image.n_frames == 3 and image.size == (128, 128 + 24)
    maps = [recording.attention(layer, 2, (1, 3)) for layer in range(3)]
    low, high = {"map": (maps[2].min(), maps[2].max()), "shared": (np.min(maps), np.max(maps)), "raw": (0, 1)}[scale]
    image.seek(2)
    larger = recording.image.resize((128, 128), Image.Resampling.BICUBIC)
    expected = add_caption(paint(VIEW.look, larger, maps[2], float(low), float(high)), "layer 2")
    assert np.abs(np.array(image.convert("RGB")).astype(int) - np.array(expected)).mean() < 10


def test_captions_differ_between_layers():
    one, two = (np.array(add_caption(Image.new("RGB", (100, 80)), f"layer {i}")) for i in (1, 2))
    assert one.shape == (104, 100, 3) and (one[80:] != two[80:]).any() and one[80:].max() == 255


def test_relevance_has_no_layers_to_go_through(recording):
    with pytest.raises(QueryError, match="rollout"):
        layers_gif(changed(VIEW, kind="relevance"), recording)
