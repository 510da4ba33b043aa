"""`python -m explorer what-if`: what it prints and writes is what the library gives."""

import json
from dataclasses import replace

import pytest
import torch

import explorer
from explorer.attention.interventions.edits import DropPatches, PutToken, SetHead
from explorer.cli import main
from explorer.commands.what_if import table
from tests.tiny import photo, tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A state dict of the tiny model and two photos."""
    path = tmp_path_factory.mktemp("what_if")
    torch.save(tiny_model(depth=2).module.state_dict(), path / "tiny.pth")
    photo(64, 64).save(path / "photo.png")
    photo(64, 64, seed=5).save(path / "other.png")
    return path


def call(folder, *options: str) -> int:
    model = ["--model", str(folder / "tiny.pth"), "--num-heads", "4", "--size", "64"]
    return main(["what-if", str(folder / "photo.png"), *model, *options])


def test_the_json_holds_what_the_library_gives(folder, capsys):
    other, file = str(folder / "other.png"), folder / "out.json"
    options = ["--drop", "3,4", "--drop", "3,5", "--head", "1.2=mean", "--put", "1,1@1=2,2", "--class", "3"]
    assert call(folder, *options, "--mean-over", other, "--second", other, "--json", str(file)) == 0
    found = json.loads(file.read_text())
    recording = explorer.record(explorer.load_model(folder / "tiny.pth", num_heads=4), folder / "photo.png", size=64)
    edits = [DropPatches(((3, 4),)), DropPatches(((3, 5),)), SetHead(1, 2, "mean"), PutToken((1, 1), 1, (2, 2))]
    other = recording.model.fit(other, 64)
    effect = recording.what_if(edits, 3, photos=[other], second=other)
    assert found["score"]["change"] == pytest.approx(effect.change) and effect.change
    assert found["edits"] == ["drop 3,4", "drop 3,5", "head 1.2=mean", "put 1,1@1=2,2"]
    said = capsys.readouterr().out
    assert f"change {effect.change:+.4f}" in said and "head 2 at its mean" in said and str(file) in said


def test_of_a_regression_the_values_are_printed():
    model = tiny_model(depth=2)
    for outputs, said in (("classes", True), ("number", False)):
        effect = explorer.record(replace(model, outputs=outputs), photo()).what_if([SetHead(1, 2)])
        lines = table(effect).splitlines()
        assert ("probability" in lines[2]) is said and ("value" in lines[2]) is not said
        numbers = lines[3].removeprefix(effect.top[0].name).split()
        assert len(numbers) == (5 if said else 3)


def test_all_heads_are_ranked(folder, capsys):
    assert call(folder, "--all-heads", "--class", "1", "--json", "-") == 0
    found = json.loads(capsys.readouterr().out)["heads"]
    recording = explorer.record(explorer.load_model(folder / "tiny.pth", num_heads=4), folder / "photo.png", size=64)
    measured = recording.measure_heads(1)
    assert torch.allclose(torch.tensor(found["effects"]), torch.from_numpy(measured.effects), atol=1e-5)
    assert call(folder, "--all-heads", "--class", "1") == 0
    first = capsys.readouterr().out.splitlines()[1].split()
    layer, head = divmod(abs(measured.effects).argmax(), 4)
    assert first[:2] == [str(layer), str(head)]


@pytest.mark.parametrize(
    "options, message",
    [
        (["--head", "11"], "head is typed as in 11.2=off, not '11'"),
        (["--head", "7.2"], "layers 0 to 1"),
        (["--put", "1,1@1"], "give one"),
        (["--mlp", "1=mean"], "over photos"),
    ],
)
def test_wrong_edits_are_one_line(folder, capsys, options, message):
    try:
        code = call(folder, *options)
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr().err
    assert code == 2 and message in said and said.count("\n") == 1
