"""Commands over a folder: two processes give what one gives, a stopped one goes on, memory doesn't grow with photos."""

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from explorer.cli import main
from explorer.commands import _progress, _work
from explorer.launch import Processes
from explorer.models.backbone import Model
from tests.conftest import REPOSITORY
from tests.launch import ON_CPU, TWO_PROCESSES
from tests.tiny import photo, save_tiny
from tests.zips import write_zip

COUNT = 70  # images: three batches, of which one isn't full
CALL = "import json, sys; from explorer.cli import main; print([main(line) for line in json.loads(sys.argv[1])])"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Photos in folders of two of the model's classes and of another, masks, and one file that is no photo."""
    folder = tmp_path_factory.mktemp("work")
    save_tiny(folder / "model")
    for number in range(COUNT):
        kind = ("ant", "bee", "zebra")[number % 3]
        (folder / "photos" / kind).mkdir(parents=True, exist_ok=True)
        photo(64, 64, number).save(folder / "photos" / kind / f"{number:02d}.png")
    (folder / "photos" / "bee" / "broken.jpg").write_bytes(b"no photo")
    (folder / "some").mkdir()
    (folder / "masks").mkdir()
    mask = np.zeros((64, 64), np.uint8)
    mask[10:40, 20:60] = 255
    for number in range(5):
        photo(64, 64, number).save(folder / "some" / f"{number}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{number}.png")
    return folder


def commands(folder: Path, out: Path) -> list[list[str]]:
    model, photos = str(folder / "model"), str(folder / "photos")
    given = ["--model", model]
    return [
        ["predict", model, photos, "--csv", str(out / "predict.csv")],
        ["evaluate", model, photos, "--csv", str(out / "evaluate.csv"), "--report", str(out / "report.html")],
        ["attention", str(folder / "some"), *given, "--npz", "--out", str(out / "attention")],
        ["relevance", str(folder / "some"), *given, "--out", str(out / "relevance")],
        ["score", str(folder / "some"), str(folder / "masks"), *given, "--csv", str(out / "score.csv")],
    ]


def written(out: Path) -> dict[str, bytes]:
    """What all files hold, without the time of day in reports."""
    files = {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
    return {name: data.partition(b"<small>")[2].partition(b"</small>")[2] if name.endswith("html") else data
            for name, data in files.items()}  # fmt: skip


@pytest.mark.slow
def test_two_processes_write_and_print_what_one_does(folder, tmp_path, capfd):
    codes = [main(line) for line in commands(folder, tmp_path / "one")]
    alone = capfd.readouterr().out.replace("/one/", "/two/")
    lines = [[*line, "--work", str(tmp_path / "work" / line[0])] for line in commands(folder, tmp_path / "two")]
    command = [*TWO_PROCESSES, "--no-python", sys.executable, "-c", CALL, json.dumps(lines)]
    done = subprocess.run(command, cwd=REPOSITORY, env=ON_CPU, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    others = ["[2, 2, 0, 0, 0]", "[0, 0, 0, 0, 0]"]
    assert codes == [2, 2, 0, 0, 0]
    assert sorted(line for line in done.stdout.splitlines() if line.startswith("[")) == sorted(others)
    printed = [line for line in done.stdout.splitlines() if line not in others]
    assert printed == alone.splitlines()
    assert written(tmp_path / "two") == written(tmp_path / "one")
    for name in ("predict", "evaluate", "attention", "relevance", "score"):
        assert all((tmp_path / "work" / name / f"lines-{index}.jsonl").is_file() for index in (0, 1)), name


def test_a_stopped_command_goes_on_beside_its_output_and_leaves_nothing(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(_work, "KEPT_FROM", 5)
    passes, forward = [], Model.forward

    def counted(self, pixels, *rest):
        passes.append(len(pixels))
        if len(passes) == 3:  # the first told the classes, the second the first batch
            raise KeyboardInterrupt
        return forward(self, pixels, *rest)

    line = ["predict", str(folder / "model"), str(folder / "photos"), "--csv", str(tmp_path / "out.csv")]
    monkeypatch.setattr(Model, "forward", counted)
    assert main(line) == 130 and (tmp_path / "out.csv.work" / "lines-0.jsonl").is_file()
    assert not (tmp_path / "out.csv").exists()
    capsys.readouterr()
    assert main([*line, "--top", "1"]) == 2
    assert "holds unfinished work with other top: give the same options" in capsys.readouterr().err
    assert main(line) == 2  # a file is no photo
    assert sum(passes[3:]) == 1 + COUNT - 32
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == COUNT + 1 and told.err.count("error: ") == 1
    assert len((tmp_path / "out.csv").read_text().splitlines()) == COUNT + 1
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_a_zip_is_evaluated_as_the_folder_and_its_mistakes_have_photos(folder, tmp_path, capsys):
    files = {str(path.relative_to(folder / "photos")): path.read_bytes() for path in (folder / "photos").rglob("*.*")}
    zipped = write_zip(tmp_path / "photos.zip", files)
    said = []
    for data in (folder / "photos", zipped):
        report = tmp_path / f"report{data.suffix}.html"
        assert main(["evaluate", str(folder / "model"), str(data), "--report", str(report)]) == 2
        told = capsys.readouterr()
        assert told.err.startswith("error: bee/broken.jpg: ") and told.err.count("\n") == 1
        said.append(told.out.splitlines()[:-1])
        page = report.read_text()
        assert page.count("<figure>") == page.count('src="data:image/jpeg') > 0
    assert said[0] == said[1] and "on 70 images (all images), 1 file left out" in said[0][0]
    for name in list(files):
        files[name] = b"no photo"
    write_zip(tmp_path / "broken.zip", files)
    assert main(["evaluate", str(folder / "model"), str(tmp_path / "broken.zip")]) == 2
    assert "None of the 71 images of 'broken.zip' can be used" in capsys.readouterr().err


def test_a_launch_without_an_output_asks_for_a_folder(folder, monkeypatch, capsys):
    from explorer import launch

    monkeypatch.setattr(launch, "processes", lambda: launch.Processes(0, 2, "cpu"))
    assert main(["predict", str(folder / "model"), str(folder / "some")]) == 2
    assert "needs --work DIR" in capsys.readouterr().err


def test_progress_counts_images_without_their_masks(monkeypatch):
    said = []
    monkeypatch.setattr(_work, "Display", lambda what: said.append(what) or _progress.Display(what))
    files = ["a.png", "a-mask.png", "b.png", "b-mask.png"]
    for items in (["a", "b"], ["a"]):
        work = _work.Work(Namespace(), files, None, lambda: pytest.fail("nothing needs it"), Processes(0, 1, "cpu"))
        assert list(work.each(items, str.upper)) == [item.upper() for item in items] and work.finish() == 0
    assert said == ["2 images", "1 image"]


def test_progress_tells_the_time_left(monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr(_progress.time, "monotonic", lambda: clock[0])
    quick, slow = _progress.Display("9 files"), _progress.Display("100,000 files")
    quick(9, 9)
    assert capsys.readouterr().err == ""
    clock[0] = 60.0
    slow(1, 4)
    clock[0] = 61.0
    slow(2, 4)  # too soon
    slow(4, 4)
    assert [line.strip() for line in capsys.readouterr().err.splitlines()] == [
        "25 % of 100,000 files, 3 min left", "100 % of 100,000 files",
    ]  # fmt: skip
