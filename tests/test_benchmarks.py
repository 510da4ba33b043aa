"""What the scripts in benchmarks/ say where they can't run."""

import pytest
import torch

from benchmarks.device import device_of


def test_without_a_gpu_the_comparison_of_devices_says_so_in_a_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for asked in (None, "cuda:1", "mps"):
        with pytest.raises(SystemExit, match="There is no such GPU here"):
            device_of(asked)
    assert device_of("cpu") == "cpu"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert device_of(None) == "mps"
