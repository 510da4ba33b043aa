"""The command bench: from photos to tables and a report, stopped and gone on with, in one process and in two."""

import csv
import json
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from explorer.cli import main
from tests.conftest import REPOSITORY
from tests.launch import ON_CPU, TWO_PROCESSES
from tests.tiny import photo, save_tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    (folder / "photos").mkdir()
    for seed in range(5):
        photo(64, 64, seed).save(folder / "photos" / f"{seed}.png")
    save_tiny(folder / "model")
    return folder


def arguments(folder, out: str) -> list[str]:
    asked = ["--maps", "all", "--without", "occlusion", "integrated_gradients", "--sanity", "1"]
    return ["bench", str(folder / "photos"), "--model", str(folder / "model"), *asked, "--out", str(folder / out)]


def test_tables_report_and_verdicts(folder, capsys):
    assert main(arguments(folder, "one")) == 0
    said = capsys.readouterr()
    assert "| map | SRG, grey |" in said.out
    assert " on your photos: " in said.out or "sure difference" in said.out
    assert "100 % of 5 photos" in said.err
    data = json.loads((folder / "one" / "table.json").read_text())
    with (folder / "one" / "table.csv").open() as file:
        rows = {row["map"]: row for row in csv.DictReader(file)}
    assert rows.keys() == data["maps"].keys() == {
        "attention", "rollout", "relevance", "gradient", "legrad", "gradcam", "centre", "random",
    }  # fmt: skip
    for name, row in rows.items():
        assert float(row["srg_grey"]) == pytest.approx(data["maps"][name]["srg_grey"]["value"], abs=1e-4)
    with (folder / "one" / "photos.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 5 * len(rows)
    assert "Which map tells the truth?" in (folder / "one" / "report.html").read_text()


def test_photos_and_masks_that_cannot_be_read_are_named_and_the_rest_is_measured(folder, tmp_path, capsys):
    for name in ("photos", "masks"):
        (tmp_path / name).mkdir()
        for seed in range(2):
            photo(64, 64, seed).save(tmp_path / name / f"{seed}.png")
    half = Image.new("L", (64, 64))
    half.paste(255, (0, 0, 32, 64))
    half.save(tmp_path / "masks" / "1.png")  # the other one is a photo
    asked = ["bench", tmp_path / "photos", "--masks", tmp_path / "masks", "--model", folder / "model", "--ways"]
    assert main([*map(str, asked), "--maps", "attention", "--sanity", "0", "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    assert "Mask AUC" in said.out and "left out: the mask of 0.png: The mask holds" in said.err


def test_a_stopped_bench_goes_on_to_the_same_table(folder, capsys):
    few = ["--maps", "attention", "gradient"]  # the later of two options of one name counts
    assert main([*arguments(folder, "whole"), *few]) == 0
    shutil.copytree(folder / "whole", folder / "stopped")
    (folder / "stopped" / "table.json").unlink()
    path = folder / "stopped" / "lines-0.jsonl"
    written = path.read_text()
    path.write_text("\n".join(written.splitlines()[:2]) + '\n{"item": 2, "va')
    assert main([*arguments(folder, "stopped"), *few]) == 0
    whole, stopped = (json.loads((folder / name / "table.json").read_text()) for name in ("whole", "stopped"))
    assert whole == stopped
    assert main([*arguments(folder, "stopped"), *few, "--seed", "3"]) == 2
    assert (
        "holds unfinished work with other seed: give the same options to go on, name another folder"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--photos", "0"], "--photos must be 1 or more"),
        (["--ways", "white"], "removed by grey, blur, dropped, road, not white"),
        (["--maps", "saliency"], "one of attention"),
        (["--maps", "attention", "--without", "attention"], "attention is both named and left out"),
        (["--masks", "nowhere"], "no zip or folder"),
        (["--skip", "5"], "no photo after the first 5"),
    ],
)
def test_what_can_not_be_had_is_one_line(folder, capsys, options, said):
    assert main([*arguments(folder, "none"), *options]) == 2
    captured = capsys.readouterr().err
    assert said in captured and captured.count("\n") == 1


def test_tables_of_something_else_are_not_written_over(folder, capsys, tmp_path):
    (tmp_path / "photos.csv").write_text("a person's own")
    assert main(["bench", str(folder), "--out", str(tmp_path), "--model", "no such model"]) == 2
    assert "holds a photos.csv that this command didn't write: name another folder" in capsys.readouterr().err
    assert (tmp_path / "photos.csv").read_text() == "a person's own"


@pytest.mark.slow
def test_two_processes_give_the_table_of_one(folder):
    for start, out in ((TWO_PROCESSES, "two"), ([sys.executable], "again")):
        command = [*start, "-m", "explorer", *arguments(folder, out)]
        done = subprocess.run(command, cwd=REPOSITORY, env=ON_CPU, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count("wrote ") == 1
    assert (folder / "two" / "lines-1.jsonl").read_text().count('"scores"') == 2
    one, two = (json.loads((folder / name / "table.json").read_text()) for name in ("again", "two"))
    assert one == two
