"""Python's garbage collector, which has nothing to find among half a million objects of PyTorch and timm."""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager

# Libraries that count their own objects at the end would take what is never looked through for leaks, and say so.
atexit.register(gc.unfreeze)


@contextmanager
def left_out() -> Iterator[None]:
    """Have the collector leave what the block imports alone, meanwhile and for good.

    Looking through the libraries takes a fifth of their import, and afterwards .2 s of every collection, in which no
    other thread gets on: Streamlit collects after each run of a script.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
