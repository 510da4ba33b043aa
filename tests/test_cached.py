"""Memory of the app between photos."""

import subprocess
import sys

import pytest

SCRIPT = """
import psutil, torch
from explorer.ui import cached
cached._map_large_tensors()
before, pins = psutil.Process().memory_info().rss, []
for _ in range(3):
    tensors = []
    for _ in range(60):
        tensors.append(torch.ones(6 * 2**18))  # 6 MB, as q and k of ViT-S/8 at 480 px
        pins.append(torch.ones(256))  # something small that stays, and lies behind it where both share a heap
    del tensors
print((psutil.Process().memory_info().rss - before) / 1e6)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is told what to do with large tensors")
def test_large_tensors_leave_no_holes_between_photos():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert float(done.stdout.split()[-1]) < 100  # of 360 MB
