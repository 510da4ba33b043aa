"""When a GPU's memory runs out: smaller batches where possible, else one sentence.

What a processor's own memory lacks comes from the system in other ways (training/runs knows them).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch

from explorer.errors import DeviceMemoryError

Item = TypeVar("Item")
Made = TypeVar("Made")


@contextmanager
def enough_memory(task: str, remedy: str) -> Iterator[None]:
    """Raise DeviceMemoryError where the GPU's memory runs out in the block: "to TASK …: REMEDY, or use the CPU."."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()  # other programs may need what this process keeps for itself
        raise DeviceMemoryError(
            f"The GPU has too little free memory to {task}: {remedy}, close other programs that use it, "
            "or use the CPU (CUDA_VISIBLE_DEVICES=-1)."
        ) from error


def in_fitting_batches(items: Sequence[Item], work: Callable[[Sequence[Item]], Made]) -> Iterator[Made]:
    """What work makes of the items: of all at once, of halves, quarters … where the GPU's memory is too small for it.

    Raises torch.OutOfMemoryError where it doesn't even suffice for one.
    """
    size, start = len(items), 0
    while start < len(items):
        try:
            made = work(items[start : start + size])
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            size //= 2
            torch.cuda.empty_cache()
            continue
        yield made
        start += size
