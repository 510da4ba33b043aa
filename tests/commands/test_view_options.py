"""The commands figure, relevance, score, compare and video: what they write and print is what the library computes."""

import csv
import io

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

import explorer
from explorer.attention.divergence import divergence
from explorer.attention.localization import fit_mask, rank_heads
from explorer.cli import main
from explorer.data.video import read_clip
from explorer.models.geometry import Geometry
from explorer.rendering.video import mp4
from explorer.rendering.view import View, shown_map
from tests.tiny import photo, save_tiny, tiny_model, with_artefacts


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two models, two photos, a mask for each, and a clip."""
    folder = tmp_path_factory.mktemp("commands")
    save_tiny(folder / "model")
    save_tiny(folder / "other", seed=1)
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for seed, name in enumerate(("one", "two")):
        photo(90, 70, seed=seed).save(folder / "images" / f"{name}.png")
        mask = np.zeros((70, 90), np.uint8)
        mask[10:40, 20 + 20 * seed : 60] = 255
        Image.fromarray(mask).save(folder / "masks" / f"{name}.png")
    (folder / "clip.mp4").write_bytes(mp4([photo(seed=seed) for seed in range(4)], 8))
    return folder


def model_of(folder):
    return explorer.load_model(folder / "model", device="cpu")


def run(*arguments):
    assert main([str(argument) for argument in arguments]) == 0


@pytest.mark.parametrize("kind", ["svg", "pdf", "png", "npz", "gif", "html", "py"])
def test_figure_writes_what_the_ending_says(folder, tmp_path, kind):
    out = tmp_path / "new" / f"view.{kind}"
    run("figure", folder / "images" / "one.png", "--model", folder / "model", "--layer", "1", "--head", "0",
        "--query", "2,3", "--out", out)  # fmt: skip
    starts = {
        "svg": b"<svg", "pdf": b"%PDF-", "png": b"\x89PNG", "npz": b"PK", "gif": b"GIF8", "html": b"<!doctype",
        "py": b'"""',
    }  # fmt: skip
    data = out.read_bytes()
    assert data.startswith(starts[kind])
    if kind == "npz":
        stored = np.load(io.BytesIO(data))
        expected = explorer.record(model_of(folder), folder / "images" / "one.png").attention(1, 0, (2, 3))
        np.testing.assert_array_equal(stored["map"], expected)
        assert View.from_json(str(stored["settings"])).map["query"] == (2, 3)


def test_relevance_of_a_named_class(folder, tmp_path, capsys):
    image = folder / "images" / "one.png"
    run("relevance", image, "--model", folder / "model", "--class", "BEE", "--out", tmp_path, "--npz")
    expected = explorer.record(model_of(folder), image).map("relevance", target=1)
    np.testing.assert_array_equal(np.load(tmp_path / "one_relevance.npz")["map"], expected)
    assert Image.open(tmp_path / "one_relevance.png").size == (256, 256)  # four times what the model saw
    assert f"{tmp_path / 'one_relevance.png'} and {tmp_path / 'one_relevance.npz'}: bee (" in capsys.readouterr().out


def test_relevance_of_a_likeness(folder, tmp_path):
    one, two = (folder / "images" / f"{name}.png" for name in ("one", "two"))
    run("relevance", one, "--model", folder / "model", "--similar-to", two, "--out", tmp_path, "--npz")
    model = model_of(folder)
    expected = explorer.record(model, one).map("relevance", similar_to=explorer.record(model, two))
    np.testing.assert_array_equal(np.load(tmp_path / "one_relevance.npz")["map"], expected)


@pytest.mark.parametrize(
    "command",
    ["attention", "attention --rollout", "figure --kind relevance", "relevance", "relevance --similar-to 1,1"],
)
def test_artefact_tokens_are_hidden(tmp_path, command):
    save_file(with_artefacts(tiny_model(), (2, 5)).module.state_dict(), tmp_path / "marked.safetensors")
    photo().save(tmp_path / "one.png")
    name, *options = command.split()
    figure = name == "figure"
    options += ["--out", tmp_path / "maps.npz" if figure else tmp_path, *([] if figure else ["--npz"])]
    model = ["--model", tmp_path / "marked.safetensors", "--num-heads", "4"]
    run(name, tmp_path / "one.png", *model, *options, "--hide-artefacts")
    (file,) = tmp_path.glob("*.npz")
    stored = np.load(file)
    view = View.from_json(str(stored["settings"]))
    recording = explorer.record(explorer.load_model(tmp_path / "marked.safetensors", num_heads=4), view.photo.image)
    shown, raw = (shown_map(view.with_look(hide_artefacts=hide), recording) for hide in (True, False))
    np.testing.assert_array_equal(stored["map"], shown)
    assert np.argwhere(stored["artefacts"]).tolist() == [[2, 5]]
    kept = ~stored["artefacts"]
    np.testing.assert_array_equal(shown[kept], raw[kept])


def test_a_figure_of_a_likeness_and_of_a_rollout_with_its_settings(folder, tmp_path):
    one, two = (folder / "images" / f"{name}.png" for name in ("one", "two"))
    shared = (one, "--model", folder / "model", "--out", tmp_path / "maps.npz")
    recording = explorer.record(model_of(folder), one)
    run("figure", *shared, "--kind", "relevance", "--similar-to", two)
    expected = recording.map("relevance", similar_to=explorer.record(model_of(folder), two))
    np.testing.assert_array_equal(np.load(tmp_path / "maps.npz")["map"], expected)
    run("figure", *shared, "--kind", "rollout", "--fusion", "max", "--discard-ratio", "0.4", "--start-layer", "1")
    np.testing.assert_array_equal(np.load(tmp_path / "maps.npz")["map"], recording.rollout(None, "max", 0.4, 1))


def test_score_averages_over_the_folder(folder, tmp_path, capsys):
    table = tmp_path / "scores.csv"
    run("score", folder / "images", folder / "masks", "--model", folder / "model", "--csv", table,
        "--markdown", tmp_path / "scores.md", "--top", "2")  # fmt: skip
    with table.open(newline="") as file:
        rows = {(row["layer"], row["head"]): row for row in csv.DictReader(file)}
    assert len(rows) == 1 + 2 * 3
    model, scores = model_of(folder), []
    for name in ("one", "two"):
        mask = fit_mask(folder / "masks" / f"{name}.png", Geometry.whole((64, 64), squash=True))
        recording = explorer.record(model, folder / "images" / f"{name}.png", fit="squash")
        scores += [s for s in rank_heads(recording, mask) if (s.layer, s.head) == (1, "mean")]
    assert float(rows["1", "mean"]["auc"]) == pytest.approx(np.mean([s.auc for s in scores]), abs=5e-5)
    printed = capsys.readouterr().out
    assert "2 images" in printed and printed.count("\n| ") == 4
    assert (tmp_path / "scores.md").read_text().count("\n") == 2 + 7


def test_compare_lists_the_heads_that_changed_most(folder, tmp_path, capsys):
    image = folder / "images" / "one.png"
    run("compare", image, "--model", folder / "model", "--with", folder / "other", "--csv", tmp_path / "c.csv",
        "--out", tmp_path / "c.png")  # fmt: skip
    with (tmp_path / "c.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    recordings = [explorer.record(explorer.load_model(folder / name), image, fit="crop") for name in ("model", "other")]
    # The two were not trained from one another: head 2 of one has nothing to do with head 2 of the other.
    table = divergence(recordings[0], recordings[1], pair_heads=False).table
    assert [float(row["bits"]) for row in rows] == pytest.approx(sorted(table.ravel(), reverse=True), abs=5e-5)
    assert Image.open(tmp_path / "c.png").size == (3 * 70 + 2 * 8, 70)
    assert f"mean {table.mean():.4f} bits" in capsys.readouterr().out


def test_a_picture_is_as_wide_as_asked_and_so_is_its_scripts(folder, tmp_path):
    image = folder / "images" / "one.png"
    for name in ("one.png", "one.py"):
        run("figure", image, "--model", folder / "model", "--width", "300", "--out", tmp_path / name)
    assert Image.open(tmp_path / "one.png").size == (300, 300)
    assert (
        "look=explorer.Look(width=300)" in (tmp_path / "one.py").read_text()
        and "photo=photo" in (tmp_path / "one.py").read_text()
    )
    run("compare", image, "--model", folder / "model", "--with", folder / "other", "--width", "100",
        "--out", tmp_path / "c.png")  # fmt: skip
    assert Image.open(tmp_path / "c.png").size == (3 * 100 + 2 * 8, 100)


def test_compare_hides_artefacts_in_its_numbers_too(tmp_path):
    for name, seed in (("one", 0), ("two", 1)):
        save_file(with_artefacts(tiny_model(seed=seed), (2, 5)).module.state_dict(), tmp_path / f"{name}.safetensors")
    photo().save(tmp_path / "photo.png")
    weights = [tmp_path / "one.safetensors", "--with", tmp_path / "two.safetensors"]
    heads = ["--num-heads", "4", "--with-num-heads", "4"]
    run("compare", tmp_path / "photo.png", "--model", *weights, *heads, "--csv", tmp_path / "c.csv", "--hide-artefacts")
    with (tmp_path / "c.csv").open(newline="") as file:
        bits = [float(row["bits"]) for row in csv.DictReader(file)]
    models = [explorer.load_model(tmp_path / f"{name}.safetensors", num_heads=4) for name in ("one", "two")]
    one, two = (explorer.record(model, tmp_path / "photo.png") for model in models)
    tables = (divergence(one, two, hide_artefacts=hide, pair_heads=False).table for hide in (True, False))
    hidden, counted = (np.sort(table.ravel())[::-1] for table in tables)
    np.testing.assert_allclose(bits, hidden, atol=5e-5)
    assert abs(hidden - counted).max() > 0.0005


@pytest.mark.parametrize(("kind", "width"), [("mp4", 64), ("gif", 136)])
def test_video_has_a_frame_for_every_one_looked_at(folder, tmp_path, kind, width):
    out = tmp_path / f"out.{kind}"
    run(
        "video",
        folder / "clip.mp4",
        "--model",
        folder / "model",
        "--out",
        out,
        *(["--beside"] if kind == "gif" else []),
    )
    clip = read_clip(out, fps=60)
    assert len(clip.frames) == 4 and clip.frames[0].size == (width, 64)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("figure {f}/images/one.png --out {t}/x.doc", "must end in"),
        ("figure {f}/images/one.png --model {f}/model --layer 9 --out {t}/x.png", "layers 0 to 1"),
        ("figure {f}/images/one.png --model {f}/model --width 9 --out {t}/x.png", "16 to 8192 pixels wide"),
        ("figure {f}/images/one.png --model {f}/model --head most --out {t}/x.png", "most"),
        ("relevance {f}/images/one.png --model {f}/model --class cat --out {t}", "no class 'cat'"),
        ("score {f}/images {f}/model --model {f}/model", "no mask for one.png"),
        ("score {f}/images {f}/none --model {f}/model", "two folders"),
        ("video {f}/images/one.png --model {f}/model --out {t}/x.gif", "MP4, WebM or GIF"),
    ],
)
def test_bad_input_is_one_line_and_code_2(folder, tmp_path, capsys, arguments, said):
    assert main(arguments.format(f=folder, t=tmp_path).split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and said in error and error.count("\n") == 1


def test_attention_is_still_called_raw(folder, tmp_path):
    image = folder / "images" / "one.png"
    for kind in ("raw", "attention"):
        run("figure", image, "--model", folder / "model", "--kind", kind, "--out", tmp_path / f"{kind}.npz")
    assert (tmp_path / "raw.npz").read_bytes() == (tmp_path / "attention.npz").read_bytes()


def test_any_kind_of_map_is_drawn_by_the_attention_command(folder, tmp_path):
    image = folder / "images" / "one.png"
    run("attention", image, "--model", folder / "model", "--kind", "relevance", "--class", "bee", "--npz",
        "--out", tmp_path)  # fmt: skip
    expected = explorer.record(model_of(folder), image).map("relevance", target=1)
    np.testing.assert_array_equal(np.load(tmp_path / "one.npz")["map"], expected)


def test_a_query_that_cannot_be_one_is_said_in_one_line(folder, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["figure", str(folder / "images" / "one.png"), "--query", "3,four", "--out", str(tmp_path / "x.png")])
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and said.count("\n") == 1
    assert "argument --query: A query is a token's name or a patch as row,col; '3,four' is neither." in said


def test_the_difference_of_two_classes(folder, tmp_path, capsys):
    image = folder / "images" / "one.png"
    run("relevance", image, "--model", folder / "model", "--class", "bee", "--instead-of", "crow", "--npz",
        "--out", tmp_path)  # fmt: skip
    recording = explorer.record(model_of(folder), image)
    stored = np.load(tmp_path / "one_relevance.npz")
    np.testing.assert_allclose(stored["map"], recording.map("relevance", target=("bee", "crow")), atol=1e-6)
    assert View.from_json(str(stored["settings"])).map["target"] == ("bee", "crow")
    assert "bee rather than crow (logits" in capsys.readouterr().out
    other = "ant" if recording.class_index(None) else "crow"
    run("figure", image, "--model", folder / "model", "--kind", "gradient", "--instead-of", other,
        "--out", tmp_path / "view.npz")  # fmt: skip
    stored = np.load(tmp_path / "view.npz")
    np.testing.assert_allclose(stored["map"], recording.map("gradient", target=(None, other)), atol=1e-6)
    assert stored["signed"] and not np.load(tmp_path / "one_relevance.npz")["signed"]
