"""Global settings of torch, switched while any thread needs them."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from threading import Lock
from typing import Any

import torch


class WhileUsed:
    """A switch shared by all threads: on as long as any thread uses it."""

    def __init__(self, switch: Callable[[], AbstractContextManager[object]]):
        self._switch, self._users, self._on, self._lock = switch, 0, ExitStack(), Lock()

    def __enter__(self) -> None:
        with self._lock:
            if not self._users:
                self._on.enter_context(self._switch())
            self._users += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._on.close()


@contextmanager
def _exact_convolutions() -> Iterator[None]:
    """Convolutions in whole float32 on CUDA, where torch rounds their inputs to 10 bits (TF32) unless told otherwise.

    The patch embedding is one: rounded, it moved probabilities by up to .013 on an H200.
    """
    setting: Any = torch.backends.cudnn.conv  # pyright: ignore[reportAttributeAccessIssue]
    before = setting.fp32_precision
    setting.fp32_precision = "ieee"
    try:
        yield
    finally:
        setting.fp32_precision = before


exact_convolutions = WhileUsed(_exact_convolutions)
