"""Where runs and their checkpoints go."""

from explorer import paths
from explorer.training.runs.folder import default_checkpoint


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
