"""The queue of forward passes: one at a time, first come, first served; a request that is out of date leaves it."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import RLock
from typing import TypeVar

from explorer import paths
from explorer.visitors.settings import has_visitors

T = TypeVar("T")
POLL = 0.03  # seconds between two looks at whether the answer is still wanted

# torch's threads spin for milliseconds when they wait for one another. Beside any other busy program that doubled the
# processor time of a pass and made it slower; so short a wait still bridges the gaps inside a layer.
SPINS = "10000"
_devices: defaultdict[str, RLock] = defaultdict(RLock)


def spin_briefly() -> None:
    """Have torch's threads sleep soon while they wait; call it before torch is imported."""
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


@contextmanager
def only_pass(device: str) -> Iterator[None]:
    """Where there are many visitors, wait until no other thread makes a forward pass on that device, and be the one."""
    if has_visitors():
        with _devices[device]:
            yield
    else:
        yield


@dataclass(frozen=True)
class PassQueue:
    """The queue of one device: all models lie on the same one, "auto".

    A window waits for one answer at a time, so that first come, first served is also a turn for each. One thread uses
    one part of the heap again and again: with a thread of its own for every run, memory would creep up with each photo.
    """

    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "passes"))
    wanted: list[Future] = field(default_factory=list)  # what waits or is being done

    @property
    def is_last(self) -> bool:
        """Whether nothing waits behind the current work."""
        return len(self.wanted) <= 1

    def do(self, work: Callable[[], T], give_way: Callable[[], None] = lambda: None) -> T:
        """Wait for the turn, do the work for the visitor of this thread, and return what it returns.

        give_way: called meanwhile; whatever it raises, when something newer is wanted, takes the work out of the queue.
        """
        future = self.pool.submit(paths.for_same_visitor(lambda: self._do(work)))
        self.wanted.append(future)
        try:
            while not wait([future], POLL).done:
                give_way()
            return future.result()
        finally:
            future.cancel()  # what has begun goes on to its end
            self.wanted.remove(future)

    def _do(self, work: Callable[[], T]) -> T:
        """Do it on one core where others wait: threads of torch that find their cores busy wait for one another."""
        import torch  # which the queue's first work has loaded long ago, if it needs it

        cores = torch.get_num_threads()
        torch.set_num_threads(cores if self.is_last else 1)
        try:
            return work()
        finally:
            torch.set_num_threads(cores)
