"""A visitor's training is a process of its own that works in the visitor's folder, for as long as the host allows."""

import time

import pytest

from explorer import paths
from explorer.errors import TrainingError
from explorer.models import registry
from explorer.models.source import ModelSource
from explorer.training.finetune import _or_out_of_time, finetune
from explorer.training.plan import Plan
from explorer.training.runs import jobs
from explorer.training.runs.folder import State
from explorer.training.runs.processes import MachineQueue
from explorer.visitors import workspace
from tests.training_help import make_base, make_dataset, make_model

PATIENCE = 240  # seconds for a process on a busy machine


@pytest.mark.slow
def test_what_a_visitor_trains_is_theirs(tmp_path, monkeypatch):
    for name in ("CHECKPOINTS", "RUNS"):
        monkeypatch.setenv(f"EXPLORER_{name}", str(tmp_path / name.lower()))
    make_base(tmp_path / "checkpoints/base")
    ann, bob = tmp_path / "ann", tmp_path / "bob"
    plan = Plan(train="head", epochs=1, image_size=32)
    with paths.working_for(ann):
        data = make_dataset(ann / "runs/.uploads/pets", 4)
        folder = jobs.start(data, ModelSource("checkpoints/base"), plan, "pets")
        end = time.monotonic() + PATIENCE
        while folder.read_state().active and time.monotonic() < end:
            time.sleep(0.1)
        assert folder.read_state().status == "finished", folder.log.read_text()
        assert [entry.key for entry in registry.local_entries()] == ["checkpoints/pets", "checkpoints/base"]
        origin = registry.trained_from("checkpoints/pets")
        assert origin and origin.model.source == "checkpoints/base"
    for other in (bob, None):
        with paths.working_for(other):
            assert jobs.list_runs() == []
            assert [entry.key for entry in registry.local_entries()] == ["checkpoints/base"]
    assert (ann / "checkpoints/pets/config.json").is_file() and not (tmp_path / "runs").exists()


def test_a_training_stops_when_its_time_is_over(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPLORER_VISITORS_MINUTES", "0.000001")
    with paths.working_for(tmp_path):
        stop = _or_out_of_time(lambda: False)
        time.sleep(0.001)
        assert stop()
    assert not _or_out_of_time(lambda: False)(), "without visitors nothing is cut short"
    monkeypatch.setenv("EXPLORER_VISITORS_MINUTES", "60")
    with paths.working_for(tmp_path):
        assert _or_out_of_time(lambda: True)() and not _or_out_of_time(lambda: False)()


@pytest.mark.slow
def test_a_training_whose_workspace_is_deleted_ends_with_a_sentence_and_makes_no_new_one(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPLORER_WORKSPACES", str(tmp_path / "workspaces"))
    own, data, model = workspace.folder_of("ann"), make_dataset(tmp_path / "data", 4), make_model(tmp_path / "base")

    def go_away(state: State) -> None:
        if state.phase == "training" and own.exists():
            workspace.delete(own)

    plan = Plan(train="head", epochs=500, image_size=32)
    with paths.working_for(own), pytest.raises(TrainingError, match="could not be read or written"):
        finetune(data, model, plan, paths.runs() / "pets", progress=go_away)
    assert not own.exists() and not list(MachineQueue().folder.glob("[0-9]*.json"))
