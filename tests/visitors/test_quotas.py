"""How much disk a visitor may take, and all together."""

import os
import threading
import zipfile
from contextlib import nullcontext

import pytest

from explorer import paths
from explorer.errors import DiskError, RoomError, TrainingError
from explorer.training.runs.folder import RunFolder
from explorer.visitors import quotas, workspace


@pytest.fixture
def ann(tmp_path, monkeypatch):
    """A workspace with 3 MB in it, in a folder of its own."""
    monkeypatch.setenv("EXPLORER_WORKSPACES", str(tmp_path))
    monkeypatch.setattr(quotas, "FRESH", -1)  # measured at each question
    return fill("ann", 3_000_000)


def fill(identity: str, size: int):
    folder = workspace.folder_of(identity)
    folder.mkdir()
    (folder / "photo").write_bytes(bytes(size))
    return folder


def test_a_file_with_two_names_counts_once(ann):
    (ann / "runs").mkdir()
    os.link(ann / "photo", ann / "runs" / "same")
    assert quotas.used_bytes(ann) == 3_000_000


def test_a_visitor_may_fill_their_share(ann, monkeypatch):
    monkeypatch.setenv("EXPLORER_VISITORS_DISK", "0.01")
    assert quotas.free_bytes(ann) == 7_000_000
    with paths.working_for(ann):
        quotas.check_room(7_000_000)
        with pytest.raises(DiskError, match="takes 7 MB, and you have 7 MB left"):
            quotas.check_room(7_000_001)
    quotas.check_room(10**15)  # without visitors


def test_all_together_may_fill_theirs(ann, monkeypatch):
    fill("bob", 4_000_000)
    monkeypatch.setenv("EXPLORER_VISITORS_DISK_ALL", "0.008")
    assert quotas.used_by_all() == 7_000_000 and quotas.free_bytes(ann) == 1_000_000
    workspace.delete(workspace.folder_of("bob"))
    assert quotas.free_bytes(ann) == 5_000_000


def test_uploads_at_the_same_moment_stay_within_the_share(ann, monkeypatch):
    from io import BytesIO

    from explorer.ui.uploads import keep_upload

    monkeypatch.setattr(quotas, "FRESH", 60)  # as in the app: others' sizes are known for a minute
    monkeypatch.setenv("EXPLORER_VISITORS_DISK", "0.006")
    bob, both = fill("bob", 0), threading.Barrier(8)
    monkeypatch.setenv("EXPLORER_VISITORS_DISK_ALL", "0.009")
    refused = []

    def upload(folder, number: int) -> None:
        content = BytesIO(number.to_bytes(1) * 1_000_000)
        with paths.working_for(folder):
            both.wait(10)
            try:
                keep_upload(content, folder, "", 10**9)
            except DiskError:
                refused.append(folder)

    windows = [threading.Thread(target=upload, args=(folder, number)) for folder in (ann, bob) for number in range(4)]
    for window in windows:
        window.start()
    for window in windows:
        window.join(30)
    # Of 3 + 8 MB Ann may have 6 in all, and both 9: each upload is one more.
    assert quotas.used_bytes(ann) <= 6_000_000 and quotas.used_bytes(ann) + quotas.used_bytes(bob) == 9_000_000
    assert len(refused) == 2 and not list(ann.glob(f"{quotas.PART}*"))


def test_what_is_held_counts_at_once_and_is_given_back(ann, monkeypatch):
    monkeypatch.setenv("EXPLORER_VISITORS_DISK", "0.01")
    abandoned = ann / f"{quotas.PART}old"
    abandoned.write_bytes(bytes(1_000_000))
    os.utime(abandoned, (0, 0))
    with paths.working_for(ann), quotas.hold_room(5_000_000, ann):
        assert quotas.free_bytes(ann) == 2_000_000 and not abandoned.exists()
        with pytest.raises(DiskError), quotas.hold_room(2_000_001, ann):
            raise AssertionError("there was no room")
    assert quotas.free_bytes(ann) == 7_000_000
    with quotas.hold_room(10**15, ann) as part:  # without visitors
        assert os.stat(part.name).st_size == 0


@pytest.mark.parametrize("size", [1_000, 10**9])
def test_what_held_room_is_closed_before_it_is_deleted_as_windows_asks(size, ann, monkeypatch):
    held, made, delete = [], quotas.NamedTemporaryFile, quotas.Path.unlink

    def make(**how):
        held.append(made(**how))
        return held[-1]

    def unlink(path, missing_ok=False):
        assert all(part.closed for part in held)
        delete(path, missing_ok)

    monkeypatch.setattr(quotas, "NamedTemporaryFile", make)
    monkeypatch.setattr(quotas.Path, "unlink", unlink)
    monkeypatch.setenv("EXPLORER_VISITORS_DISK", "0.01")
    refused = pytest.raises(RoomError) if size == 10**9 else nullcontext()
    with paths.working_for(ann), refused, quotas.hold_room(size, ann):
        pass
    assert held and not list(ann.glob(f"{quotas.PART}*"))


def test_a_training_needs_its_room_before_it_begins(ann, monkeypatch):
    from explorer.training.examples import SPARE, check_disk

    run = RunFolder(ann / "runs/pets")
    run.cache.mkdir(parents=True)
    (run.cache / "train.bin").write_bytes(bytes(1_000_000))  # of a run that goes on: it is among what is needed
    monkeypatch.setenv("EXPLORER_VISITORS_DISK", str((SPARE + 10_000_000) / 1e9))
    check_disk(run, 10**8, 0)  # without visitors
    with paths.working_for(ann):
        check_disk(run, 6_000_000, 1_000_000)
        with pytest.raises(TrainingError, match=r"of disk but only 217 MB are free; .* without a cache"):
            check_disk(run, 6_000_000, 1_000_001)
        with pytest.raises(TrainingError, match="free some space, keep fewer epochs"):
            check_disk(run, 0, 7_000_001)


def test_a_zip_that_leaves_no_room_to_be_unpacked_is_not_kept(ann, monkeypatch):
    from explorer.ui import datasets

    with paths.working_for(ann):
        packed = datasets.uploads_folder() / "0123456789abcdef-pets.zip"
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("cats/1.bmp", bytes(900_000))
            file.writestr("dogs/1.bmp", bytes(900_000))
        monkeypatch.setenv("EXPLORER_VISITORS_DISK", "0.005")
        with datasets._room_to_unpack(packed, packed.with_suffix(".data"), "pets"):
            assert quotas.free_bytes(ann) < 200_000
        monkeypatch.setenv("EXPLORER_VISITORS_DISK", "0.0045")
        with pytest.raises(RoomError, match="takes 2 MB"):
            datasets.read_data(packed, "pets")
    assert not packed.exists() and (ann / "photo").exists()


def test_an_upload_above_the_share_is_refused_before_it_is_copied(ann, monkeypatch):
    from io import BytesIO

    from explorer.ui.uploads import keep_upload

    monkeypatch.setenv("EXPLORER_VISITORS_DISK", "0.004")
    with paths.working_for(ann), pytest.raises(DiskError):
        keep_upload(BytesIO(bytes(1_000_001)), ann, "", 10**9)
    assert [path.name for path in ann.iterdir()] == ["photo"]
