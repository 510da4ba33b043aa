"""Settings of a model that are switched while it is recorded, so that its attention passes through one function."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from explorer.models.switches import WhileUsed

_lock = Lock()
_fused: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()  # how many recordings hold a layer's switch on


# What torch.compile made runs as plain Python: it would compile the recorder, too, again for every layer. The compiler
# has one stance for all threads, so that another thread's compiled code runs slower meanwhile.
_compiler_off = WhileUsed(lambda: torch.compiler.set_stance("force_eager"))


@contextmanager
def visible_attention(module: nn.Module) -> Iterator[None]:
    """Inside the block, the module's attention passes through scaled_dot_product_attention, in plain Python.

    Recordings that share the model in several threads count their use: the last one to end restores the switches.
    """
    with _compiler_off, _fused_attention(module):
        yield


@contextmanager
def _fused_attention(module: nn.Module) -> Iterator[None]:
    """Switch on scaled_dot_product_attention where timm layers were built without it."""
    with _lock:
        held = set(_fused)
        layers: list[Any] = [m for m in module.modules() if vars(m).get("fused_attn") is False or m in held]
        for layer in layers:
            layer.fused_attn = True
            _fused[layer] = _fused.get(layer, 0) + 1
    try:
        yield
    finally:
        with _lock:
            for layer in layers:
                _fused[layer] -= 1
                if not _fused[layer]:
                    layer.fused_attn = False
                    del _fused[layer]
