"""Where runs and their checkpoints go, and what people call them."""

import pytest

from explorer import paths
from explorer.errors import TrainingError
from explorer.training.runs import jobs
from explorer.training.runs.folder import About, RunFolder, State, default_checkpoint


def test_a_run_of_the_runs_folder_ends_among_the_models_on_offer(monkeypatch, tmp_path):
    monkeypatch.setenv("EXPLORER_RUNS", str(tmp_path / "mine"))
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(tmp_path / "models"))
    assert paths.runs() == tmp_path / "mine"
    assert default_checkpoint(tmp_path / "mine" / "bees") == tmp_path / "models" / "bees"


def test_a_run_elsewhere_keeps_its_checkpoint_beside_it_or_inside(monkeypatch, tmp_path):
    monkeypatch.delenv("EXPLORER_RUNS", raising=False)
    assert paths.runs().name == "runs"
    assert default_checkpoint(tmp_path / "runs" / "bees") == tmp_path / "checkpoints" / "bees"
    assert default_checkpoint(tmp_path / "bees") == tmp_path / "bees" / "checkpoint"


def test_a_run_is_renamed_and_noted_and_its_folder_keeps_its_name(tmp_path):
    folder = RunFolder(tmp_path / "bees")
    folder.path.mkdir()
    folder.write_state(State("finished"))
    assert jobs.read_run("bees", tmp_path).title == "bees"
    jobs.describe("bees", About("Bees, second try", "more light"), tmp_path)
    run = jobs.read_run("bees", tmp_path)
    assert (run.title, run.name, run.about.note) == ("Bees, second try", "bees", "more light")
    with pytest.raises(TrainingError, match="120 characters at most"):
        jobs.describe("bees", About("x" * 121), tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"title": 1, "note": ""}', b'{"title": "\\ud800", "note": ""}']
)
def test_a_damaged_note_counts_as_none(tmp_path, content):
    (tmp_path / "about.json").write_bytes(content)
    assert RunFolder(tmp_path).read_about() == About()
