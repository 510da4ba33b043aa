"""Nothing a person has is lost: outputs beside inputs, names, batches with bad files, Ctrl-C and strange names."""

import argparse
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from explorer.cli import main
from explorer.commands import _outputs
from explorer.commands._work import Work
from explorer.errors import ImageError, QueryError
from explorer.launch import Processes
from explorer.rendering.video import gif
from tests.conftest import REPOSITORY
from tests.tiny import photo, save_tiny, tiny_model


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    save_tiny(folder / "one")
    save_tiny(folder / "two", seed=1)
    return folder


def call(*arguments):
    return main([str(argument) for argument in arguments])


@pytest.mark.parametrize("way", ["same", "link", "hard link", "another spelling"])
def test_an_output_is_never_an_input(tmp_path, way):
    photo().save(tmp_path / "own.png")
    out = {
        "same": tmp_path / "own.png",
        "link": tmp_path / "link.png",
        "hard link": tmp_path / "hard.png",
        "another spelling": tmp_path / ".." / tmp_path.name / "own.png",
    }[way]
    if way == "link":
        out.symlink_to(tmp_path / "own.png")
    if way == "hard link":
        out.hardlink_to(tmp_path / "own.png")
    with pytest.raises(QueryError, match="is an input"):
        _outputs.check_output(out, (".png",), [None, tmp_path / "own.png"])
    assert _outputs.check_output(tmp_path / "new" / "x.png", (".png",), [tmp_path / "own.png"]).parent.is_dir()


def test_the_commands_leave_their_inputs_alone(models, tmp_path, capsys):
    own, clip, other = tmp_path / "own.png", tmp_path / "own.gif", tmp_path / "other.png"
    photo().save(own)
    photo(seed=1).save(other)
    clip.write_bytes(gif([photo(seed=seed) for seed in range(3)], 4))
    before = {path: path.read_bytes() for path in (own, other, clip)}
    for arguments in (
        ("figure", own, "--out", own),
        ("figure", own, "--kind", "relevance", "--similar-to", other, "--out", other),
        ("compare", own, "--with", models / "two", "--out", own),
        ("video", clip, "--out", clip),
    ):
        assert call(*arguments, "--model", "no such model") == 2  # said before the model is looked for
        assert "is an input" in capsys.readouterr().err
    assert call("predict", models / "one", own, "--csv", own) == 2 and "is an input" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before


def test_a_picture_that_a_map_is_likened_to_is_kept(models, tmp_path):
    (tmp_path / "out").mkdir()
    photo().save(tmp_path / "cat.png")
    photo(seed=1).save(tmp_path / "out" / "cat.png")
    before = (tmp_path / "out" / "cat.png").read_bytes()
    options = ("--kind", "relevance", "--similar-to", tmp_path / "out" / "cat.png", "--out", tmp_path / "out")
    assert call("attention", tmp_path / "cat.png", *options, "--model", models / "one") == 0
    assert (tmp_path / "out" / "cat.png").read_bytes() == before and (tmp_path / "out" / "cat-2.png").is_file()


def test_endings_are_checked_before_the_first_image(models, tmp_path, capsys):
    photo().save(tmp_path / "a.png")
    Image.new("L", (64, 64)).save(tmp_path / "k.png")
    pair = ("score", tmp_path / "a.png", tmp_path / "k.png")
    for arguments in (
        ("compare", tmp_path / "a.png", "--with", models / "two", "--csv", tmp_path / "a.xlsx"),
        (*pair, "--csv", tmp_path / "a.xlsx"),
        (*pair, "--markdown", tmp_path / "a.docx"),
        (*pair, "--csv", tmp_path / "t.txt", "--markdown", tmp_path / "t.txt"),
    ):
        assert call(*arguments, "--model", "no such model") == 2
        assert "end in" in (said := capsys.readouterr().err) or "two outputs" in said
    for arguments in (
        ("predict", "no such model", tmp_path / "a.png", "--csv", tmp_path / "k.png"),
        ("evaluate", "no such model", tmp_path, "--csv", tmp_path / "k.png"),
        ("evaluate", "no such model", tmp_path, "--report", tmp_path / "k.png"),
        ("runs", "--runs", tmp_path, "--chart", tmp_path / "k.png"),
    ):
        assert call(*arguments) == 2 and "must end in" in capsys.readouterr().err
    assert Image.open(tmp_path / "k.png").size == (64, 64)


@pytest.mark.parametrize("command", ["attention", "relevance"])
def test_two_photos_of_one_name_give_two_pictures(models, tmp_path, command, capsys):
    for folder in "ab":
        (tmp_path / folder).mkdir()
        photo(seed=ord(folder)).save(tmp_path / folder / "cat.jpg")
    photo(seed=3).save(tmp_path / "b" / "Cat.png")
    images = [tmp_path / "a" / "cat.jpg", tmp_path / "b" / "cat.jpg", tmp_path / "b" / "Cat.png"]
    assert call(command, *images, "--model", models / "one", "--npz", "--out", tmp_path / "out") == 0
    for suffix in (".png", ".npz"):
        contents = {path.read_bytes() for path in (tmp_path / "out").glob(f"*{suffix}")}
        assert len(contents) == 3
    assert len({path.name.casefold() for path in (tmp_path / "out").iterdir()}) == 6


def test_a_picture_is_never_written_over_another_input(models, tmp_path):
    photo().save(tmp_path / "cat.png")
    photo(seed=1).save(tmp_path / "cat_relevance.png")
    before = (tmp_path / "cat_relevance.png").read_bytes()
    images = [tmp_path / "cat.png", tmp_path / "cat_relevance.png"]
    assert call("relevance", *images, "--model", models / "one", "--out", tmp_path) == 0
    assert (tmp_path / "cat_relevance.png").read_bytes() == before and (tmp_path / "cat-2_relevance.png").is_file()


def test_a_file_that_this_software_did_not_write_is_never_written_over(models, tmp_path):
    """The names that a folder of pictures gets are the command's own choice, not the person's."""
    photo().save(tmp_path / "cat.jpg")
    photo(seed=1).save(tmp_path / "cat.png")
    (tmp_path / "dog.npz").write_text("cut short")
    photo(seed=2).save(tmp_path / "dog.jpg")
    kept = {name: (tmp_path / name).read_bytes() for name in ("cat.png", "dog.npz")}
    arguments = ("attention", tmp_path / "cat.jpg", tmp_path / "dog.jpg", "--model", models / "one", "--npz")
    for _ in range(2):  # its own files are written again, under the same names
        assert call(*arguments, "--out", tmp_path) == 0
        assert {name: (tmp_path / name).read_bytes() for name in kept} == kept
    assert sorted(path.name for path in tmp_path.glob("*-*")) == ["cat-2.npz", "cat-2.png", "dog-2.npz", "dog-2.png"]
    (tmp_path / "other").mkdir()
    photo(seed=3).save(tmp_path / "other" / "cat.jpg")  # a second photo of that name, in a second call
    assert call("attention", tmp_path / "other" / "cat.jpg", "--model", models / "one", "--out", tmp_path) == 0
    assert (tmp_path / "cat-3.png").is_file()


def test_the_longest_names_leave_room_for_an_ending(tmp_path):
    names = ["x" * 251, "x" * 250, "🐱" * 62, "short"]
    stems = _outputs.unique_stems([f"{name}.png" for name in names], tmp_path)
    assert len(set(stems)) == 4 and stems[3] == "short"
    for stem in stems:
        _outputs.write_output(tmp_path / f"{stem}_relevance.png", b"")


def test_an_output_is_written_whole_and_a_link_stays(tmp_path):
    (tmp_path / "real.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    _outputs.write_output(tmp_path / "link.csv", "new")
    assert (tmp_path / "link.csv").is_symlink() and (tmp_path / "real.csv").read_text() == "new"
    assert len(list(tmp_path.iterdir())) == 2


def test_options_that_do_nothing_are_refused(models, tmp_path, capsys):
    photo().save(tmp_path / "a.png")
    figure = ("figure", tmp_path / "a.png", "--model", models / "one", "--out")
    for arguments, said in (
        ((*figure, tmp_path / "b.png", "--all-layers"), "--all-layers is for SVG and PDF"),
        ((*figure, tmp_path / "b.npz", "--name", "0.0=ears"), "--name is for SVG and PDF"),
        ((*figure, tmp_path / "b.svg", "--name", "99.0=ears"), "head 0 of layer 99, which this model doesn't have"),
    ):
        assert call(*arguments) == 2 and said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_evidence_takes_folders_and_calls_photos_by_their_names(models, tmp_path, monkeypatch):
    for name in ("a", "b"):
        photo(seed=ord(name)).save(tmp_path / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    assert call("evidence", ".", "--model", models / "one", "--removals", 2, "--csv", "e.csv") == 0
    assert {line.split(",")[0] for line in (tmp_path / "e.csv").read_text().splitlines()[1:]} == {"a", "b"}


def test_closed_streams_are_no_error(models, tmp_path, monkeypatch):
    photo().save(tmp_path / "a.png")
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(sys, stream, None)  # as Python has it after >&-
    assert call("models") == 0 and call("runs", "--stop", "none") == 2
    assert call("attention", tmp_path / "a.png", "--model", models / "one", "--out", tmp_path / "out") == 0


@pytest.mark.parametrize("command", ["attention", "relevance"])
def test_a_batch_goes_on_after_a_bad_file(models, tmp_path, command, capsys):
    photo().save(tmp_path / "good.png")
    (tmp_path / "bad.jpg").write_text("no image")
    (tmp_path / "folder.png").mkdir()
    images = [tmp_path / name for name in ("bad.jpg", "folder.png", "good.png", "gone.png")]
    assert call(command, *images, "--model", models / "one", "--out", tmp_path / "out") == 2
    errors = capsys.readouterr().err.splitlines()
    assert [name for name in ("bad.jpg", "folder.png", "gone.png") for line in errors if name in line] == [
        "bad.jpg", "folder.png", "gone.png",
    ]  # fmt: skip
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_a_wrong_option_is_said_once():
    def wrong(item):
        raise QueryError("no layer 9")

    def broken_then_wrong(item):
        raise ImageError("a is broken") if item == "a" else QueryError("no layer 9")

    for work in (wrong, broken_then_wrong):
        task = Work(argparse.Namespace(), [], None, tiny_model, Processes())
        with pytest.raises(QueryError):
            list(task.each(["a", "b", "c"], work))


def test_score_names_what_it_leaves_out_and_writes_the_rest(models, tmp_path, capsys):
    for name in ("i", "k"):
        (tmp_path / name).mkdir()
    inside = np.zeros((64, 64), np.uint8)
    inside[10:40, 20:60] = 255
    masks = {
        "ok": inside,
        "empty": np.zeros((64, 64), np.uint8),
        "other_shape": np.pad(inside, ((0, 64), (0, 0))),
        "grey": np.where(inside, 200, 0).astype(np.uint8),
    }
    for name, mask in masks.items():
        photo().save(tmp_path / "i" / f"{name}.png")
        Image.fromarray(mask).save(tmp_path / "k" / f"{name}.png")
    photo().save(tmp_path / "i" / "lonely.png")
    (tmp_path / "i" / "broken.png").write_text("no image")
    Image.fromarray(inside).save(tmp_path / "k" / "broken.png")
    (tmp_path / "i" / "._ok.png").write_bytes(b"what macOS leaves beside a copied file")
    arguments = ("score", tmp_path / "i", tmp_path / "k", "--model", models / "one", "--csv", tmp_path / "all.csv")
    assert call(*arguments) == 2
    printed = capsys.readouterr()
    errors = [line for line in printed.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 5 and "._ok" not in printed.err
    for name in ("empty", "other_shape", "grey", "lonely", "broken"):
        assert sum(name in line for line in errors) == 1
    assert ", 1 image\n" in printed.out and (tmp_path / "all.csv").read_text().count("\n") == 2 + 2 * 3
    assert call(*arguments, "--query", "reg9") == 2  # wrong for all
    assert "no 'reg9' token" in capsys.readouterr().err


def environment(**others):
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path]), **others}


@pytest.mark.slow
def test_names_that_the_terminal_cannot_show_are_escaped(models, tmp_path):
    photo().save(tmp_path / "кошка.png")
    command = [sys.executable, "-m", "explorer", "attention", "кошка.png", "нет.png", "--model", models / "one"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, env=environment(PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    )
    assert done.returncode == 2 and b"Traceback" not in done.stderr
    assert rb"\u043a\u043e\u0448\u043a\u0430.png" in done.stdout and rb"\u043d\u0435\u0442.png" in done.stderr


@pytest.mark.slow
def test_photos_whose_names_are_no_text_are_escaped_in_files(models, tmp_path, capsys):
    folder = tmp_path / "data"
    for name in ("ant", "bee"):
        (folder / name).mkdir(parents=True)
        photo().save(folder / name / "1.png")
    odd = folder / "ant" / os.fsdecode(b"caf\xe9.png")
    try:
        odd.write_bytes((folder / "ant" / "1.png").read_bytes())
    except OSError:
        pytest.skip("this disk takes no names that aren't UTF-8")
    table, curves, page = (tmp_path / name for name in ("p.csv", "e.csv", "r.html"))
    assert call("predict", models / "one", odd, "--csv", table) == 0
    assert call("evidence", odd, "--model", models / "one", "--removals", 2, "--csv", curves) == 0
    assert call("evaluate", models / "one", folder, "--csv", tmp_path / "a.csv", "--report", page) == 0
    for file in (table, curves, tmp_path / "a.csv"):
        assert r"caf\udce9" in file.read_text("utf-8")


@pytest.mark.slow
def test_ctrl_c_ends_in_one_line(models, tmp_path):
    photo().save(tmp_path / "a.png")
    code = (
        "import signal, sys, time, explorer\n"
        "from explorer.cli import main\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # also where a shell runs the tests behind it
        "def slow(*args, **kwargs): print('ready', flush=True); time.sleep(60)\n"
        "explorer.load_model = slow\n"
        f"sys.exit(main(['attention', {str(tmp_path / 'a.png')!r}, '--out', {str(tmp_path / 'o')!r}]))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )
    assert process.stdout and process.stdout.readline() == "ready\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and error == "stopped\n"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="everything may be written here")
def test_what_cannot_be_written_is_said_before_the_first_image(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o555)
    (tmp_path / "old.csv").touch(mode=0o444)
    for path in (tmp_path / "locked" / "new.csv", tmp_path / "old.csv"):
        with pytest.raises(QueryError, match="can't be written"):
            _outputs.check_output(path)


def test_a_broken_model_is_said_once_and_not_of_each_photo(tmp_path, capsys):
    for seed in range(3):
        photo(seed=seed).save(tmp_path / f"{seed}.png")
    (tmp_path / "broken.pth").write_bytes(b"no weights")
    assert call("attention", tmp_path, "--model", tmp_path / "broken.pth", "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "broken.pth" in said[0] and ".png" not in said[0]


def test_masks_whose_names_differ_in_case_or_accents_alone(tmp_path):
    from explorer.commands.score import pair_up

    for folder, names in (("photos", ["IMG_1.jpg", "m\u00fcller.jpg"]), ("masks", ["img_1.png", "mu\u0308ller.png"])):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).touch()
    assert all(mask for _, mask in pair_up(tmp_path / "photos", tmp_path / "masks"))
