"""Memory that goes back to the system, and memory that stays."""

import subprocess
import sys

import pytest

from explorer import malloc

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="only glibc is told what to do with tensors"),
]

HOLES = """
import psutil, torch
from explorer import malloc
malloc.settle()
before, pins = psutil.Process().memory_info().rss, []
for _ in range(3):
    tensors = []
    for _ in range({count}):
        tensors.append(torch.ones({numbers}))
        pins.append(torch.ones(256))  # something small that stays, and lies behind it where both share a heap
    del tensors
    {after}
print((psutil.Process().memory_info().rss - before) / 1e6)
"""
PASSES = """
import ctypes, resource
from explorer import malloc
malloc.KEPT = {kept}
malloc.settle()
libc = ctypes.CDLL("libc.so.6")
libc.malloc.restype = ctypes.c_void_p
libc.memset.argtypes = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
libc.free.argtypes = (ctypes.c_void_p,)
tensors = [0] * 8
def passes():
    for _ in range(20):
        for i in range(8):
            tensors[i] = libc.malloc(2**22)  # 4 MB, as a tensor of ViT-S/8 at 224 px
            libc.memset(tensors[i], 1, 2**22)
        for place in tensors:
            libc.free(place)
passes()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
passes()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def printed(script: str) -> float:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


@pytest.mark.parametrize(
    ("count", "numbers", "after"),
    [
        pytest.param(12, 7 * 2**20, "", id="28 MB, as q and k of ViT-S/8 at 224 px, by itself"),
        pytest.param(60, 6 * 2**18, "malloc.give_back()", id="6 MB, as one of its tensors at 480 px, as the app does"),
    ],
)
def test_large_tensors_leave_no_holes_between_photos(count, numbers, after):
    assert printed(HOLES.format(count=count, numbers=numbers, after=after)) < 100  # of 336 and 360 MB


def test_a_pass_finds_the_pages_of_the_one_before():
    fetched, by_itself = (printed(PASSES.format(kept=kept)) for kept in (malloc.KEPT, 2**17))  # glibc's own is 2**17
    assert fetched < 1000 < by_itself
