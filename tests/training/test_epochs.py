"""Attention over a training's kept epochs: numbers, command and page on a tiny model that was really trained."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import explorer
from explorer.attention.divergence import History, divergence, history, jensen_shannon
from explorer.cli import main
from explorer.commands.compare import spread
from explorer.errors import QueryError
from explorer.models import registry
from explorer.models.source import ModelSource, TrainedFrom
from explorer.rendering.charts import history_figure
from explorer.training.finetune import finetune
from explorer.training.plan import Plan
from tests.app import open_app, sentences
from tests.tiny import photo, tiny_model
from tests.training_help import make_base, make_dataset

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A project folder: a base model, and the run "mine", which kept both of its epochs."""
    home = tmp_path_factory.mktemp("project")
    base = make_base(home / "checkpoints" / "base")
    plan = Plan("all", epochs=2, keep_epochs=1, lr=0.01, augmentation="none", warmup=0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXPLORER_QUEUE", str(home / "queue"))
        finetune(make_dataset(home / "data", per_class=4), str(base), plan, home / "runs" / "mine")
    photo(90, 70).save(home / "photo.png")
    return home


@pytest.fixture
def project(trained, monkeypatch) -> Path:
    monkeypatch.setenv("EXPLORER_RUNS", str(trained / "runs"))
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(trained / "checkpoints"))
    return trained


def recordings(project: Path) -> list[Any]:
    folders = [project / "checkpoints" / name for name in ("base", "mine/epochs/001", "mine/epochs/002")]
    models = [explorer.load_model(folder, device="cpu") for folder in folders]
    return [explorer.record(model, project / "photo.png", fit="crop") for model in models]


def expected(project: Path) -> np.ndarray:
    """ "epoch layer head" bits, from the rows themselves."""
    start, *epochs = recordings(project)
    table = [[jensen_shannon(start.rows(layer), rec.rows(layer)) for layer in range(3)] for rec in epochs]
    return np.array([np.zeros((3, 2)), *table])


def test_every_epoch_is_held_to_the_start(project):
    start, *epochs = recordings(project)
    result = history(start, zip((1, 2), epochs, strict=True))
    assert result.epochs == (0, 1, 2) and result.table.shape == (3, 3, 2)
    np.testing.assert_array_equal(result.table, expected(project))
    assert (result.table[0] == 0).all() and (result.table[1:] > 0).all(), "training all blocks moves every head"
    np.testing.assert_allclose(result.by_layer, result.table.mean(axis=2))
    patch = history(start, [(2, epochs[1])], query=(1, 2))
    np.testing.assert_array_equal(patch.table[1], divergence(start, epochs[1], (1, 2)).table)
    assert result.rows()[7] == (1, 0, 1, result.table[1, 0, 1])


def test_an_epoch_of_another_architecture_is_refused():
    start = explorer.record(tiny_model(), photo())
    with pytest.raises(QueryError, match="2 layers of 4 heads on patches of 8 pixels, its start tiny 3 layers"):
        history(start, [(1, explorer.record(tiny_model(depth=2), photo()))])


def test_the_chart_has_a_line_a_layer():
    table = np.arange(12, dtype=float).reshape(3, 2, 2) / 20
    lines: Any = history_figure(History((0, 2, 4), table), layer=1, epoch=2).data
    assert [line.name for line in lines] == ["layer 0", "layer 1"]
    np.testing.assert_allclose(lines[1].y, table[:, 1].mean(axis=1))
    assert list(lines[0].x) == [0, 2, 4] and lines[1].line.width > lines[0].line.width


def test_a_checkpoint_tells_what_it_was_trained_from(project, trained):
    origin = registry.trained_from("checkpoints/mine")
    assert origin == TrainedFrom(ModelSource(str(trained / "checkpoints" / "base")), "data", "mine")
    assert registry.trained_from(trained / "checkpoints" / "mine") == origin
    assert registry.trained_from("checkpoints/mine/epochs/001") == origin
    assert registry.trained_from("checkpoints/base") is None and registry.trained_from("bundled") is None


def test_the_command_goes_over_the_epochs(project, tmp_path, capsys):
    files = ["--csv", str(tmp_path / "e.csv"), "--out", str(tmp_path / "e.png")]
    assert main(["compare", str(project / "photo.png"), "--epochs", "checkpoints/mine", *files]) == 0
    with (tmp_path / "e.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    bits = np.array([float(row["bits"]) for row in rows]).reshape(3, 3, 2)
    np.testing.assert_allclose(bits, expected(project), atol=5e-5)
    assert [rows[0]["epoch"], rows[-1]["epoch"], rows[-1]["layer"], rows[-1]["head"]] == ["0", "2", "2", "1"]
    assert Image.open(tmp_path / "e.png").size == (3 * 70 + 2 * 8, 70 + 24)  # the photo and a caption
    printed = capsys.readouterr().out.splitlines()
    assert "against its start" in printed[0] and printed[2].split() == [
        "epoch",
        "layer",
        "0",
        "layer",
        "1",
        "layer",
        "2",
    ]
    assert [float(cell) for cell in printed[-1].split()] == pytest.approx(
        [2, *expected(project)[2].mean(axis=1)], abs=5e-5
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--epochs", "checkpoints/base"], "no kept epochs"),
        (["--epochs", "checkpoints/mine", "--model", "bundled"], "give the model that its training began with"),
    ],
)
def test_what_cannot_be_compared_is_one_line(project, capsys, options, said):
    assert main(["compare", str(project / "photo.png"), *options]) == 2
    assert said in capsys.readouterr().err


def without_origin(project: Path, folder: Path) -> Path:
    """The checkpoint as release 0.1.0 wrote it."""
    mine = shutil.copytree(project / "checkpoints" / "mine", folder / "mine")
    config = json.loads((mine / "config.json").read_text())
    del config["trained_from"]
    (mine / "config.json").write_text(json.dumps(config))
    return mine


def test_where_a_checkpoint_does_not_say_its_start_it_must_be_named(project, tmp_path, capsys):
    mine = without_origin(project, tmp_path)
    command = ["compare", str(project / "photo.png"), "--epochs", str(mine)]
    assert main(command) == 2 and "by --model" in capsys.readouterr().err
    assert main([*command, "--model", "checkpoints/base"]) == 0


def test_pictures_are_spread_over_all_epochs():
    assert spread(range(3), 8) == [0, 1, 2]
    assert spread([0, 5, 10, 15, 20], 3) == [0, 10, 20]
    assert spread([4], 8) == [4]


def open_compare(**address: str):
    return open_app("compare", model="checkpoints/base", side="epochs", **address)


def test_the_page_shows_the_course_of_a_training(project):
    app = open_compare(photo="coffee")
    assert not app.exception and not sentences(app)
    assert app.select_slider(key="epoch").options == ["0", "1", "2"] and app.select_slider(key="epoch").value == 2
    assert app.query_params["trained"] == "checkpoints/mine" and app.query_params["epoch"] == "2"
    tables = list(app.session_state["epoch_divergences"].values())
    assert len(tables) == 2 and all((table > 0).all() for table in tables)
    app.toggle(key="without_artefacts").set_value(True).run()
    assert not app.exception and not sentences(app) and app.toggle(key="without_artefacts").value
    app.select_slider(key="epoch").set_value(0).run()
    assert not app.exception and not sentences(app)
    assert app.query_params["epoch"] == "0"
    assert open_compare(epoch="1").select_slider(key="epoch").value == 1


def test_where_a_checkpoint_does_not_say_its_start_the_sidebars_model_stands_for_it(project, tmp_path, monkeypatch):
    without_origin(project, tmp_path)
    shutil.copytree(project / "checkpoints" / "base", tmp_path / "base")
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(tmp_path))
    app = open_compare()
    assert not app.exception and not sentences(app)
    assert "doesn't say what it was trained from: the model in the sidebar stands" in app.info[0].value


def test_without_kept_epochs_the_page_says_how_to_get_some(project, tmp_path, monkeypatch):
    make_base(tmp_path / "base")
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(tmp_path))
    app = open_compare()
    assert not app.exception and "Keep every so many epochs" in app.info[0].value
