"""PyTorch and the model libraries, imported once by one thread, so that a page can be shown before them."""

from importlib import import_module
from threading import Lock, Thread

import streamlit as st

from explorer import garbage

# All that loading and recording a model imports. One thread does it, and all others wait: two threads that import torch
# at the same time may each see half of it.
NEEDED = ("explorer.models.timm_folder", "explorer.models.timm_models", "explorer.attention.recording")


def _import() -> None:
    with garbage.left_out():
        for module in NEEDED:
            import_module(module)


_thread = Thread(target=_import, name="import-libraries", daemon=True)
_starting = Lock()


def begin() -> None:
    """Start the import, unless that was done before."""
    with _starting:
        if _thread.ident is None:
            _thread.start()


def ready() -> bool:
    """Whether everything is imported."""
    return _thread.ident is not None and not _thread.is_alive()


def wait() -> None:
    """Return when everything is imported; for any thread."""
    begin()
    _thread.join()


def show_wait() -> None:
    """wait(), with a line on the page that says so."""
    if not ready():
        with st.spinner("Loading PyTorch, a few seconds after the server's start …"):
            wait()
