"""How much disk a visitor may take, and all together."""

import os

import pytest

from explorer import paths
from explorer.errors import DiskError
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


def test_an_upload_above_the_share_is_refused_before_it_is_copied(ann, monkeypatch):
    from io import BytesIO

    from explorer.ui.uploads import keep_upload

    monkeypatch.setenv("EXPLORER_VISITORS_DISK", "0.004")
    with paths.working_for(ann), pytest.raises(DiskError):
        keep_upload(BytesIO(bytes(1_000_001)), ann, "", 10**9)
    assert [path.name for path in ann.iterdir()] == ["photo"]
