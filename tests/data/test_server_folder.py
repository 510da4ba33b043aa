"""Only what lies below the data folder can be named."""

import pytest

from explorer import paths
from explorer.data.server_folder import server_dataset, server_datasets
from explorer.errors import DataError


@pytest.fixture
def root(tmp_path, monkeypatch):
    folder = tmp_path / "shared"
    for name in ("ants/a", "pets", ".hidden"):
        (folder / name).mkdir(parents=True)
    (folder / "shoes.ZIP").touch()
    (folder / "notes.txt").touch()
    (tmp_path / "secret").mkdir()
    (folder / "way_out").symlink_to(tmp_path / "secret")
    (folder / "loop").symlink_to(folder / "loop")
    monkeypatch.setenv("EXPLORER_DATA", str(folder))
    return folder


def test_lists_folders_and_zips(root):
    assert server_datasets() == ["ants", "pets", "shoes.ZIP"]


def test_named_data_sets(root):
    assert server_dataset("ants") == root / "ants"
    assert server_dataset("ants/a") == root / "ants" / "a"
    assert server_dataset("shoes.ZIP") == root / "shoes.ZIP"


@pytest.mark.parametrize("name", ["../secret", "ants/../../secret", "/etc", "way_out", "", ".", "a\0b", "loop"])
def test_ways_out_are_refused(root, name):
    with pytest.raises(DataError, match=r"outside the data folder|There is no"):
        server_dataset(name)


def test_what_is_not_there(root):
    with pytest.raises(DataError, match="There is no 'cows' in the data folder"):
        server_dataset("cows")


@pytest.mark.parametrize("name", ["data", "~/data"])
def test_a_folder_that_is_not_there_offers_nothing(tmp_path, monkeypatch, name):
    monkeypatch.setenv("EXPLORER_DATA", name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert paths.data() == tmp_path / "data"
    assert server_datasets() == []
