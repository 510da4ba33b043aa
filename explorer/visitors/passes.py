"""The line of forward passes: one at a time, in the order of asking; whoever asks for something newer leaves it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TypeVar

from explorer import paths

T = TypeVar("T")
POLL = 0.03  # seconds between two looks at whether the answer is still wanted


@dataclass(frozen=True)
class PassQueue:
    """The line before one device: all models lie on the same one, "auto".

    A window waits for one answer at a time, so that first come, first served is also a turn for each. One thread uses
    one part of the heap again and again: with a thread of its own for every run, memory would creep up with each photo.
    """

    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "passes"))

    def do(self, work: Callable[[], T], give_way: Callable[[], None] = lambda: None) -> T:
        """Wait for the turn, do the work for the visitor of this thread, and return what it returns.

        give_way: called meanwhile; whatever it raises, when something newer is wanted, takes the work out of the line.
        """
        future = self.pool.submit(paths.for_same_visitor(work))
        try:
            while not wait([future], POLL).done:
                give_way()
            return future.result()
        finally:
            future.cancel()  # what has begun goes on to its end
