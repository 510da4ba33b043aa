"""A visitor's folder: found by who it is, told to nobody, gone after a time without a visit; and what may be read."""

import os
import threading
import time
from pathlib import Path

import pytest

from explorer import paths
from explorer.models import registry
from explorer.models.loading import load_model
from explorer.models.source import ModelSource
from explorer.visitors import workspace
from tests.tiny import save_weights

DAY = 24 * 60 * 60


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """Where workspaces, and the host's checkpoints and data, lie."""
    for name in ("workspaces", "checkpoints", "data"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(f"EXPLORER_{name.upper()}", str(tmp_path / name))
    return tmp_path


def make(identity: str, days_ago: float = 0) -> Path:
    """A workspace, last visited that long ago."""
    folder = workspace.folder_of(identity)
    folder.mkdir()
    workspace.note_visit(folder)
    then = time.time() - days_ago * DAY
    for path in (folder / ".visit", folder):
        os.utime(path, (then, then))
    return folder


def test_the_same_person_finds_the_same_folder_and_its_name_tells_nobody_who_that_is(root):
    ann = workspace.folder_of("cookie:" + "a" * 32)
    assert ann == workspace.folder_of("cookie:" + "a" * 32) != workspace.folder_of("login:" + "a" * 32)
    assert ann.parent == root / "workspaces" and "a" * 32 not in ann.name


def test_an_identity_never_becomes_a_path(root):
    assert workspace.folder_of("../../etc").parent == root / "workspaces"
    assert not workspace.ID.fullmatch("../" + "a" * 29) and not workspace.ID.fullmatch("A" * 32)
    assert workspace.ID.fullmatch(workspace.new_id()) and workspace.new_id() != workspace.new_id()


def test_a_workspace_goes_after_a_time_without_a_visit_and_nothing_else_does(root):
    old, new = make("old", 31), make("new", 29)
    (root / "workspaces" / "notes").mkdir()
    os.utime(root / "workspaces" / "notes", (0, 0))
    assert workspace.delete_unvisited(30) == [old]
    assert not old.exists() and new.is_dir() and (root / "workspaces" / "notes").is_dir()
    assert [path.name for path in (root / "workspaces").iterdir() if path.name.startswith(".gone")] == []


def test_a_training_at_work_is_a_sign_of_life(root):
    folder = make("trains", 31)
    (folder / "runs/pets").mkdir(parents=True)
    (folder / "runs/pets/state.json").write_text("{}")
    assert workspace.delete_unvisited(30) == []


def test_who_comes_while_others_are_being_deleted_keeps_everything(root, monkeypatch):
    folders, delete = [make("one", 31), make("two", 32)], workspace.delete

    def meanwhile_both_come(folder: Path) -> None:
        delete(folder)
        for other in folders:
            workspace.note_visit(other)

    monkeypatch.setattr(workspace, "delete", meanwhile_both_come)
    (gone,) = workspace.delete_unvisited(30)
    assert [folder.is_dir() for folder in folders] == [folder != gone for folder in folders]


def test_a_visit_makes_no_folder(root):
    workspace.note_visit(workspace.folder_of("looks only"))
    assert workspace.all_workspaces() == []


def test_runs_and_new_models_lie_in_the_visitor_s_folder_and_the_line_is_everybody_s(root):
    own, queue = make("ann"), paths.queue()
    with paths.working_for(own):
        assert (paths.runs(), paths.checkpoints()) == (own / "runs", own / "checkpoints")
        assert paths.queue() == queue and paths.checkpoint_folders() == [own / "checkpoints", root / "checkpoints"]
    assert paths.workspace() is None and paths.checkpoint_folders() == [root / "checkpoints"]


def test_another_thread_works_for_the_visitor_who_handed_it_the_work(root):
    found = []
    with paths.working_for(root / "ann"):
        work = paths.for_same_visitor(lambda: found.append(paths.workspace()))
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [root / "ann"] and paths.workspace() is None


def test_a_training_process_is_told_for_whom_it_works(root, monkeypatch):
    monkeypatch.setenv(paths.WORKSPACE, str(root / "ann"))
    assert paths.workspace() == root / "ann"


def test_models_of_the_host_are_everybody_s_and_those_of_a_visitor_their_own(root):
    ann, bob = make("ann"), make("bob")
    save_weights(root / "checkpoints")
    for folder in (ann, bob):
        (folder / "checkpoints").mkdir()
    save_weights(ann / "checkpoints").rename(ann / "checkpoints/secret.safetensors")
    with paths.working_for(ann):
        keys = [entry.key for entry in registry.local_entries()]
        assert keys == ["checkpoints/secret.safetensors", "checkpoints/tiny.safetensors"]
        assert load_model("checkpoints/secret.safetensors", device="cpu").name == "secret.safetensors"
        assert registry.absolute_source(ModelSource(str(ann / "checkpoints/secret.safetensors"))).source == keys[0]
    with paths.working_for(bob):
        assert [entry.key for entry in registry.local_entries()] == ["checkpoints/tiny.safetensors"]
        assert load_model("checkpoints/tiny.safetensors", device="cpu")


@pytest.mark.parametrize(
    "source",
    [
        "{ann}/checkpoints/secret.safetensors",
        "{ann}/checkpoints/secret.safetensors#state_dict",
        "checkpoints/secret.safetensors",
        "checkpoints/../../{ann.name}/checkpoints/secret.safetensors",
        "{bob}/checkpoints/../../{ann.name}/checkpoints/secret.safetensors",
        "{bob}/../{ann.name}/checkpoints/secret.safetensors",
        "checkpoints/../../{ann.name}/checkpoints/pets/epochs/001",
        "/etc",
        "{root}/host.safetensors",
    ],
)
def test_no_way_of_writing_a_path_opens_what_is_another_s(root, source):
    ann, bob = make("ann"), make("bob")
    (ann / "checkpoints/pets/epochs/001").mkdir(parents=True)
    (ann / "checkpoints/pets/epochs/001/config.json").write_text("{}")
    (bob / "checkpoints").mkdir()
    save_weights(root).rename(root / "host.safetensors")
    save_weights(ann / "checkpoints").rename(ann / "checkpoints/secret.safetensors")
    text = source.format(ann=ann, bob=bob, root=root)
    with paths.working_for(bob):
        assert registry.find(text) is None and not registry.resolve(text).exists()
        with pytest.raises(registry.ModelError):
            load_model(text, device="cpu")
        assert registry.saved_epochs(text) == []
