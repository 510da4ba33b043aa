"""finetune, evaluate, predict and runs as a person types them."""

import csv
import hashlib
import json
import re
import shutil
import subprocess
import sys

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from explorer.cli import main
from explorer.data.changes import Change, Changes, read_changes, write_changes
from explorer.data.report import DatasetReport
from explorer.models import registry
from explorer.models.loading import load_model
from explorer.training.examples import SIZES
from explorer.training.runs.events import read_events
from explorer.training.runs.folder import RunFolder
from tests.conftest import REPOSITORY
from tests.launch import ON_CPU, TWO_PROCESSES
from tests.training_help import make_base, make_dataset

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data"), per_class=7)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("base"))


def test_finetune_stop_resume_evaluate_predict_and_list(tmp_path, data, base, capsys):
    runs = tmp_path / "runs"
    where = ["--runs", str(runs), "--name", "mine"]
    train = ["finetune", str(data), "--model", str(base), "--epochs", "3", "--val-fraction", "0.3", "--onnx", *where]
    assert main([*train, "--stop-after", "1"]) == 0
    told = capsys.readouterr()
    assert "stopped" in told.out
    assert told.out.startswith("21 images of 3 classes, 15 to train on and 6 to validate\n  blue: 7 (5 + 2)\n")
    assert told.err.startswith(
        "mine: caching\nmine: baseline\nmine: training, epoch 0 of 3\nmine: training, epoch 1 of 3"
    )
    assert main(["finetune", *where, "--resume"]) == 0
    out = capsys.readouterr().out
    checkpoint = tmp_path / "checkpoints" / "mine"
    assert "accuracy" in out and "finished" in out and str(checkpoint) in out
    assert re.search(
        r"nearest neighbours .*; gain [+-]0\.\d{4} \(.*\), (within the noise|more than chance) \(McNemar", out
    )
    assert {path.name for path in checkpoint.iterdir()} == {
        "config.json",
        "model.safetensors",
        "model.onnx",
        "README.md",
        "seen.json",
    }

    written = ["--csv", str(tmp_path / "out.csv"), "--report", str(tmp_path / "out.html")]
    assert main(["evaluate", str(checkpoint), str(data), *written]) == 0
    assert "<h2>Confusion</h2>" in (tmp_path / "out.html").read_text("utf-8")
    out = capsys.readouterr().out
    assert "on 21 images (all images), 0 files left out" in out and "predicted as" in out
    assert "The model knows 21 of these 21 images already: 15 in its training and 6 in its validation." in out
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    assert len(rows) == 21 and {row["actual"] for row in rows} == {"blue", "green", "red"}
    assert float(rows[0]["blue"]) + float(rows[0]["green"]) + float(rows[0]["red"]) == pytest.approx(1, abs=1e-4)

    assert main(["evaluate", str(checkpoint), str(data / "red")]) == 0
    out = capsys.readouterr().out
    assert "on 7 images" in out and "no class folders" in out and "  0.png: " in out and "accuracy" not in out

    image = str(data / "red" / "0.png")
    assert main(["predict", str(checkpoint), image, "--top", "2"]) == 0
    assert capsys.readouterr().out.startswith(f"{image}: ")
    assert main(["predict", str(checkpoint), image, str(tmp_path / "none.png")]) == 2
    captured = capsys.readouterr()
    assert image in captured.out and "none.png" in captured.err and captured.err.count("\n") == 1

    assert main(["runs", "--runs", str(runs), "--chart", str(tmp_path / "chart.html")]) == 0
    out = capsys.readouterr().out
    assert "mine" in out and "finished" in out and (tmp_path / "chart.html").is_file()
    assert main(["runs", "--runs", str(runs), "--delete", "mine"]) == 0
    assert "no runs in" in capsys.readouterr().out and checkpoint.is_dir()


def test_changes_of_the_data_are_told_used_and_kept_by_the_run(tmp_path, data, base, capsys):
    sha = hashlib.sha256((data / "red" / "0.png").read_bytes()).hexdigest()
    other = hashlib.sha256((data / "blue" / "1.png").read_bytes()).hexdigest()
    left_out, moved = Change(sha, "red/0.png", "red"), Change(other, "blue/1.png", "blue", "green")
    file = tmp_path / "changes.json"
    write_changes(file, Changes((left_out, moved)))
    train = ["finetune", str(data), "--model", str(base), "--epochs", "1", "--runs", str(tmp_path / "runs")]
    train += ["--name", "changed", "--changes"]
    assert main([*train, str(tmp_path / "none.json")]) == 2
    assert "'none.json' can't be read" in capsys.readouterr().err and not (tmp_path / "runs").exists()
    assert main([*train, str(file)]) == 0
    out = capsys.readouterr().out
    assert "20 images of 3 classes" in out and "Changed by hand: 1 photo left out, 1 given another class." in out
    folder = RunFolder(tmp_path / "runs" / "changed")
    assert read_changes(folder.changes) == Changes((left_out, moved))
    report = DatasetReport.from_json(folder.dataset.read_text())
    labels = {item.name: report.class_names[item.label] for item in report.items}
    assert "red/0.png" not in labels and labels["blue/1.png"] == "green" and len(labels) == 20


def test_a_mended_zip_trains_under_the_name_of_the_refused_one(tmp_path, data, base, capsys):
    zipped = tmp_path / "pets.zip"
    zipped.write_bytes(b"no zip")
    train = ["finetune", str(zipped), "--model", str(base), "--epochs", "1"]
    train += ["--runs", str(tmp_path / "runs"), "--name", "pets"]
    assert main(train) == 2
    assert "pets.zip" in capsys.readouterr().err and not list(tmp_path.glob("runs/*"))
    shutil.make_archive(str(tmp_path / "pets"), "zip", data)
    assert main(train) == 0 and (tmp_path / "checkpoints" / "pets").is_dir()


def test_heads_and_architecture_of_a_bare_weights_file_are_told_and_kept(tmp_path, data, base):
    where = ["--runs", str(tmp_path / "runs"), "--name"]
    bare = shutil.copy(base / "model.safetensors", tmp_path / "bare.safetensors")
    train = ["finetune", str(data), "--model", str(bare), "--num-heads", "4", "--epochs", "2", *where, "heads"]
    assert main([*train, "--stop-after", "1"]) == 0
    assert main(["finetune", "--resume", *where, "heads"]) == 0
    assert load_model(tmp_path / "checkpoints" / "heads", device="cpu").num_heads == 4

    named = tmp_path / "named.safetensors"
    save_file(timm.create_model("test_vit", num_classes=3).state_dict(), named)
    train = ["finetune", str(data), "--model", str(named), "--arch", "test_vit", "--epochs", "1", *where, "arch"]
    assert main(train) == 0
    config = json.loads((tmp_path / "checkpoints" / "arch" / "config.json").read_text())
    assert config["architecture"] == "test_vit"
    assert main(["predict", str(named), str(data / "red" / "0.png"), "--arch", "test_vit", "--num-heads", "2"]) == 0


def test_kept_epochs_open_as_models_of_their_own(tmp_path, data, base):
    where = ["--runs", str(tmp_path / "runs"), "--name", "kept"]
    plan = ["--train", "last-1", "--epochs", "5", "--keep-epochs", "2"]
    assert main(["finetune", str(data), "--model", str(base), *plan, *where, "--stop-after", "3"]) == 0
    checkpoint = tmp_path / "checkpoints" / "kept"
    assert [epoch for epoch, _ in registry.saved_epochs(checkpoint)] == [2]
    second = load_file(tmp_path / "runs" / "kept" / "epochs" / "2.safetensors")
    assert main(["finetune", "--resume", *where]) == 0
    assert [epoch for epoch, _ in registry.saved_epochs(checkpoint)] == [2, 4]
    assert not (tmp_path / "runs" / "kept" / "epochs").exists()

    models = [load_model(path, device="cpu") for _, path in registry.saved_epochs(checkpoint)]
    assert [model.name for model in models] == ["kept, epoch 2", "kept, epoch 4"]
    got = dict(models[0].module.named_parameters())
    assert second and all(torch.allclose(got[name], tensor, rtol=1e-3, atol=1e-6) for name, tensor in second.items())
    assert not torch.equal(got["head.weight"], dict(models[1].module.named_parameters())["head.weight"])
    size = [path.stat().st_size for path in sorted(checkpoint.rglob("model.safetensors"))]
    assert size[0] < 0.6 * size[2], "half the size of the checkpoint itself"
    timm.create_model(f"local-dir:{checkpoint / 'epochs' / '002'}", pretrained=True)
    image = str(data / "red" / "0.png")
    assert main(["compare", image, "--model", str(checkpoint / "epochs/002"), "--with", str(checkpoint)]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["finetune"], "needs DATA"),
        (["finetune", "--resume"], "--resume needs --name"),
        (["finetune", "DATA", "--name", "../up"], "can't name a run"),
        (["finetune", "DATA", "--lr", "-1"], "lr must be more than 0"),
        (["finetune", "DATA", "--train", "some"], "head, all or last-N"),
        (["finetune", "DATA", "--keep-epochs", "0"], "keep_epochs must be at least 1"),
        (["finetune", "DATA", "--stop-after", "0"], "--stop-after must be at least 1"),
        (["finetune", "nowhere.zip", "--model", "BASE"], "nowhere.zip"),
        (["finetune", "--resume", "--name", "nothing"], "'nothing'"),
        (["evaluate", "BASE", "nowhere.zip"], "nowhere.zip"),
        (["evaluate", "nomodel.pth", "DATA"], "nomodel.pth"),
        (["runs", "--delete", "nothing"], "no run named 'nothing'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, data, base, capsys, arguments, words):
    paths = {"DATA": str(data), "BASE": str(base)}
    filled = [str(paths.get(argument, argument)) for argument in arguments]
    if filled[0] in ("finetune", "runs"):
        filled += ["--runs", str(tmp_path / "runs")]
    assert main(filled) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and words in error


def test_what_a_plan_costs_is_told_without_training(tmp_path, data, base, capsys):
    where = ["--model", str(base), "--runs", str(tmp_path / "runs")]
    assert main(["finetune", str(data), *where, "--estimate"]) == 0
    out = capsys.readouterr().out
    assert (
        out.startswith("21 images of 3 classes") and "\nAbout " in out and "It takes 1 MB of disk while it runs" in out
    )
    assert main(["finetune", str(data), *where, "--estimate", "--cache", "none"]) == 0
    assert "Every epoch runs every block on every image, because no cache" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()


def test_lists_and_help_do_not_wait_for_torch():
    code = "import sys; from explorer.cli import build_parser; build_parser(); import explorer.training.runs.jobs; "
    code += "assert not {'torch', 'timm', 'sklearn'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)


def test_digits_are_built_in(tmp_path, base, monkeypatch):
    monkeypatch.setitem(SIZES, "digits", 60)
    where = ["--runs", str(tmp_path / "runs"), "--name", "digits"]
    assert main(["finetune", "digits", "--model", str(base), "--epochs", "2", *where]) == 0
    names = json.loads((tmp_path / "runs" / "digits" / "metrics.json").read_text())["class_names"]
    assert names == [str(digit) for digit in range(10)]


def test_two_processes_give_the_single_process_metrics(tmp_path, data, base):
    arguments = ["-m", "explorer", "finetune", str(data), "--model", str(base), "--train", "last-1", "--epochs", "3"]
    arguments += ["--batch-size", "5", "--class-weights", "--runs", str(tmp_path / "runs"), "--name"]
    for command in ([sys.executable, *arguments, "one"], [*TWO_PROCESSES, *arguments, "two"]):
        done = subprocess.run(command, cwd=REPOSITORY, env=ON_CPU, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count("best epoch") == 1
    folders = [RunFolder(tmp_path / "runs" / name) for name in ("one", "two")]
    starts = [next(event for event in read_events(folder.events) if event["type"] == "start") for folder in folders]
    assert [start["processes"] for start in starts] == [1, 2]
    one, two = (json.loads(folder.metrics.read_text()) for folder in folders)
    assert one["confusion_matrix"] == two["confusion_matrix"] and one["best_epoch"] == two["best_epoch"]
    for key in ("accuracy", "f1_macro", "f1_weighted", "loss", "knn_accuracy"):
        assert two[key] == pytest.approx(one[key], abs=1e-4)
