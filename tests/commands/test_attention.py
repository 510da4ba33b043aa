"""`python -m explorer attention`: the files it writes hold what the library gives, and bad input is one line."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import explorer
from explorer.cli import main
from explorer.commands.attention import unique_stems
from explorer.rendering.view import PhotoInput, View
from tests.conftest import REPOSITORY
from tests.tiny import photo, tiny_model


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    """A state dict of the tiny model, as someone would save it."""
    path = tmp_path_factory.mktemp("weights") / "tiny.pth"
    torch.save(tiny_model(depth=2).module.state_dict(), path)
    return str(path)


@pytest.fixture(scope="module")
def picture(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("pictures") / "photo.png"
    photo(96, 64).save(path)
    return str(path)


@pytest.fixture(scope="module")
def recording(weights, picture):
    model = explorer.load_model(weights, num_heads=4)
    return explorer.record(model, picture, 64, "keep")


def call(weights, out, *arguments):
    model = ["--model", weights, "--num-heads", "4", "--size", "64"]
    return main(["attention", *model, *arguments, "--out", str(out)])


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as png:
        return np.array(png.convert("RGB"))


@pytest.mark.parametrize(
    "options,expected",
    [
        (["--layer", "0"], lambda r: r.attention(0)),
        (["--head", "2", "--query", "3,7"], lambda r: r.attention(-1, 2, (3, 7))),
        (["--head", "max", "--query", "mean"], lambda r: r.attention(-1, "max", "mean")),
        (["--rollout", "--fusion", "max", "--discard-ratio", "0.5"], lambda r: r.rollout(None, "max", 0.5)),
        (["--rollout", "--query", "0,0", "--start-layer", "1"], lambda r: r.rollout((0, 0), start_layer=1)),
    ],
    ids=["layer", "patch", "max", "rollout", "rollout start"],
)
def test_npz_and_png_hold_the_librarys_map(weights, picture, recording, tmp_path, options, expected, capsys):
    assert call(weights, tmp_path, picture, "--fit", "keep", "--width", "96", "--npz", *options) == 0
    assert capsys.readouterr().out == f"wrote {tmp_path}/photo.png\nwrote {tmp_path}/photo.npz\n"
    stored = np.load(tmp_path / "photo.npz", allow_pickle=False)
    np.testing.assert_allclose(stored["map"], expected(recording), atol=1e-6)
    view = View.from_json(str(stored["settings"]))
    assert (view.source.source, view.photo) == (weights, PhotoInput(picture, 64, "keep"))
    drawn = pixels(tmp_path / "photo.png")
    np.testing.assert_array_equal(drawn, np.array(explorer.overlay(recording.image, stored["map"])))


def test_the_looks(weights, picture, recording, tmp_path):
    looks = ["--fit", "keep", "--width", "96", "--colormap", "viridis", "--opacity", "0.9", "--resample", "nearest"]
    assert call(weights, tmp_path, picture, *looks) == 0
    expected = explorer.overlay(recording.image, recording.attention(-1), 0.9, "viridis", "nearest")
    np.testing.assert_array_equal(pixels(tmp_path / "photo.png"), np.array(expected))
    assert call(weights, tmp_path / "mass", picture, "--fit", "keep", "--width", "96", "--mass", "0.3") == 0
    outside = np.kron(~recording.mass_mask(-1, mass=0.3), np.ones((8, 8), bool))
    dark, plain = pixels(tmp_path / "mass" / "photo.png")[outside], np.array(recording.image)[outside]
    assert (dark <= plain).all() and dark.mean() < 0.5 * plain.mean()


def test_only_the_png_without_npz(weights, picture, tmp_path):
    assert call(weights, tmp_path, picture) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def test_a_bad_image_is_one_line_and_the_others_are_drawn(weights, picture, tmp_path, capsys):
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    assert call(weights, tmp_path / "out", str(tmp_path / "broken.jpg"), picture, str(tmp_path / "gone.png")) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2 and all(line.startswith("error: ") for line in errors)
    assert "broken.jpg" in errors[0] and "gone.png" in errors[1]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["photo.png"]


def test_images_of_one_name_get_numbers():
    names = ["a/x.png", "b/x.jpg", "y.png", "x-2.png", "c/x.webp"]
    assert unique_stems([Path(name) for name in names], Path("out")) == ["x", "x-2", "y", "x-2-2", "x-3"]


def test_no_picture_gets_the_name_of_a_photo_in_the_same_folder():
    assert unique_stems([Path("out/x.png"), Path("out/x-2.png")], Path("out")) == ["x-3", "x-2-2"]


def test_a_picture_never_takes_the_place_of_the_photo(weights, tmp_path):
    photo().save(tmp_path / "cat.png")
    before = (tmp_path / "cat.png").read_bytes()
    assert main(["attention", str(tmp_path / "cat.png"), "--model", weights, "--out", str(tmp_path)]) == 0
    assert (tmp_path / "cat.png").read_bytes() == before and (tmp_path / "cat-2.png").is_file()


@pytest.mark.slow
def test_as_a_program(weights, picture, tmp_path):
    command = [sys.executable, "-m", "explorer", "attention", picture, "--model", weights, "--size", "65"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert (
        done.returncode == 2 and done.stderr.splitlines()[-1].startswith("error: ") and "Traceback" not in done.stderr
    )
