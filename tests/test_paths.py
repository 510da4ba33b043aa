"""Folders are asked for when they are needed, and named by the environment or the project's own."""

import pytest

from explorer import paths

VARIABLES = {
    "EXPLORER_RUNS": paths.runs,
    "EXPLORER_CHECKPOINTS": paths.checkpoints,
    "EXPLORER_DATA": paths.data,
    "EXPLORER_QUEUE": paths.queue,
}


@pytest.mark.parametrize("variable", VARIABLES)
def test_one_policy_for_every_variable(variable, tmp_path, monkeypatch):
    folder = VARIABLES[variable]
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for given, expected in {
        str(tmp_path / "a" / ".." / "b"): tmp_path / "b",
        "c": tmp_path / "c",
        "~/d": tmp_path / "d",
    }.items():
        monkeypatch.setenv(variable, given)
        assert folder() == expected
    monkeypatch.setenv(variable, "")
    empty = folder()
    monkeypatch.delenv(variable)
    assert folder() == empty and empty.is_absolute() and tmp_path not in empty.parents


def test_the_defaults_lie_in_the_project(monkeypatch):
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    assert (paths.project() / "README.md").is_file() and paths.BUNDLED.is_dir()
    assert [paths.runs(), paths.checkpoints(), paths.data()] == [
        paths.project() / name for name in ("runs", "checkpoints", "data")
    ]
