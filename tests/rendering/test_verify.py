"""Files say where they come from, and verify makes them again: it finds what was changed, and only that."""

import hashlib
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import explorer
from explorer.cli import main
from explorer.errors import ImageError, QueryError
from explorer.models.source import ModelSource
from explorer.rendering.figures import figure
from explorer.rendering.provenance import LIBRARIES, image_digest, read_provenance, weights_digest
from explorer.rendering.verify import verify
from explorer.rendering.view import PhotoInput, View, png, save_npz
from tests.tiny import photo, save_tiny, tiny_model


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(folder, view, recording) of a model folder and a photo on disk."""
    folder = tmp_path_factory.mktemp("verify")
    model = explorer.load_model(save_tiny(folder / "model"))
    photo(96, 80).save(folder / "photo.png")
    view = View(ModelSource(str(folder / "model")), PhotoInput(str(folder / "photo.png")))
    view = view.with_map("attention", layer=1)
    return folder, view, explorer.record(model, folder / "photo.png", view.photo.size, view.photo.fit)


def test_digests_are_plain_sha256(made):
    _, _, recording = made
    state = recording.model.module.state_dict()
    expected = hashlib.sha256()
    for name in sorted(state):
        expected.update(f"{name} {state[name].dtype} {tuple(state[name].shape)}\n".encode())
        expected.update(state[name].numpy().tobytes())
    assert weights_digest(recording.model.module) == expected.hexdigest()
    image = recording.image
    plain = f"{image.width}x{image.height}\n".encode() + image.tobytes()
    assert image_digest(image) == hashlib.sha256(plain).hexdigest()
    assert weights_digest(tiny_model(seed=1).module) != weights_digest(tiny_model(seed=2).module)


def test_every_file_names_versions_weights_and_image(made):
    _, view, recording = made
    picture = Image.open(io.BytesIO(png(view, recording))).info["explorer"]
    arrays = str(np.load(io.BytesIO(save_npz(view, recording)))["settings"])
    drawing = figure(view, recording)
    assert drawing.settings == picture == arrays
    found = read_provenance(arrays)
    assert found is not None and found["explorer"] == explorer.__version__
    assert found["libraries"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert set(found["libraries"]) == set(LIBRARIES) and found["image_sha256"] == image_digest(recording.image)
    assert b"weights_sha256" in drawing.svg() and View.from_json(arrays) == view


def test_what_was_written_agrees(made):
    folder, view, recording = made
    picture = png(view, recording, photo=folder / "photo.png")
    for name, data in (("a.npz", save_npz(view, recording)), ("a.png", picture)):
        (folder / name).write_bytes(data)
        findings = verify(folder / name)
        assert all(finding.agrees for finding in findings), findings
        assert {"weights", "image", "versions"} < {finding.what for finding in findings}


def test_a_changed_map_is_found_and_an_npz_needs_no_photo(made, tmp_path):
    _, view, recording = made
    stored = dict(np.load(io.BytesIO(save_npz(view, recording))))
    settings = json.loads(str(stored["settings"]))
    settings["photo"]["image"] = "gone.png"
    stored["settings"], stored["map"] = np.array(json.dumps(settings)), stored["map"] * 1.01
    np.savez(tmp_path / "b.npz", **stored)
    wrong = [finding.what for finding in verify(tmp_path / "b.npz") if finding.agrees is False]
    assert wrong == ["map"]


def test_another_model_and_another_picture_are_found(made, tmp_path, capsys):
    folder, view, _ = made
    other = explorer.load_model(save_tiny(tmp_path / "other", seed=3))
    strange = explorer.record(other, folder / "photo.png", view.photo.size, view.photo.fit)
    (folder / "c.npz").write_bytes(save_npz(view, strange))  # by other weights than its settings name
    assert main(["verify", str(folder / "c.npz")]) == 1
    said = capsys.readouterr().out
    assert "DIFFERS  weights" in said and "DIFFERS  map" in said and "does not agree" in said
    entry = PngInfo()
    entry.add_itxt("explorer", view.to_json())
    photo(384, 320).save(folder / "d.png", pnginfo=entry)  # settings of an earlier release, and no such picture
    found = {finding.what: finding.agrees for finding in verify(folder / "d.png")}
    assert found == {"origin": None, "pixels": False}


def test_a_png_whose_photo_is_gone_asks_for_it(made, tmp_path):
    folder, view, recording = made
    (tmp_path / "moved.png").write_bytes((folder / "photo.png").read_bytes())
    lost = View(view.source, PhotoInput("nowhere/lost.png"), view.map, view.look)
    (tmp_path / "e.png").write_bytes(png(lost, recording, photo=folder / "photo.png"))
    with pytest.raises(ImageError, match="name it with --photo"):
        verify(tmp_path / "e.png")
    assert main(["verify", str(tmp_path / "e.png"), "--photo", str(tmp_path / "moved.png")]) == 0


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 no zip", b"\x89PNG no picture"])
def test_other_files_are_refused(tmp_path, data):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(QueryError, match="isn't an NPZ or PNG with settings"):
        verify(tmp_path / "x")


def test_a_plain_png_is_refused(tmp_path):
    photo().save(tmp_path / "plain.png")
    with pytest.raises(QueryError, match="isn't an NPZ or PNG with settings"):
        verify(tmp_path / "plain.png")
