"""A pickle that would keep, fill or crash its reader is ended in a process of its own; others are read as ever."""

import time
from pathlib import Path

import pytest
import torch

import explorer
from explorer.errors import CheckpointError
from explorer.models.formats import trial
from explorer.models.formats.reading import read_contents
from tests.tiny import tiny_model


def deep(folder: Path) -> Path:
    """2 MB of a dictionary whose key is a tuple in a tuple in a tuple …: to hash it takes more stack than there is."""
    path = folder / "deep.pth"
    path.write_bytes(b"\x80\x02})" + b"\x85" * 2_000_000 + b"K\x01s.")
    return path


def saved(folder: Path) -> Path:
    path = folder / "fine.pth"
    torch.save(tiny_model().module.state_dict(), path)
    return path


@pytest.mark.slow
def test_a_file_that_breaks_its_reader_breaks_nothing_here(tmp_path):
    with (
        trial.trial_reading(),
        pytest.raises(CheckpointError, match=r"deep\.pth broke its reader, as no weights do"),
    ):
        explorer.load_model(deep(tmp_path), device="cpu")


@pytest.mark.slow
def test_a_good_file_is_tried_once_and_again_when_it_changed(tmp_path, monkeypatch):
    watched = []
    watch = trial._watch
    monkeypatch.setattr(trial, "_watch", lambda path, *limits: watched.append(path.name) or watch(path, *limits))
    path = saved(tmp_path)
    read_contents(path)
    assert watched == [], "who loads one file for oneself needs no trial"
    with trial.trial_reading():
        assert read_contents(path).tensors.keys() == tiny_model().module.state_dict().keys()
        read_contents(path.rename(tmp_path / "moved.pth"))
        assert watched == ["fine.pth"]
        time.sleep(0.01)
        torch.save({"head.weight": torch.ones(2, 2)}, tmp_path / "moved.pth")
        read_contents(tmp_path / "moved.pth")
    assert watched == ["fine.pth", "moved.pth"]


@pytest.mark.parametrize(
    ("limit", "value", "words"), [("SECONDS", 0.0, "wasn't read after 0 s"), ("MEMORY", 0, "took over 0.0 GB to read")]
)
def test_a_reader_that_takes_too_much_is_ended(limit, value, words, tmp_path, monkeypatch):
    monkeypatch.setattr(trial, limit, value)
    with trial.trial_reading(), pytest.raises(CheckpointError, match=words):
        read_contents(saved(tmp_path))
