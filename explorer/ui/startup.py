"""What happens from the server's start on, before and behind the first visitor's first picture."""

from importlib import import_module
from threading import Event, Thread

from explorer.models import registry
from explorer.models.source import ModelSource
from explorer.ui import cached

FIRST = ("explorer.ui.sidebar", "explorer.ui.home.picture", "explorer.ui.widgets")  # what Home needs, without torch
GRACE = 2.5  # seconds that PyTorch's import, which takes all of a processor, waits for a first visitor's picture
_painted = Event()


def get_ready() -> None:
    """Import everything and load the model that is shown first, in a thread of its own, whether or not a visitor comes."""
    Thread(target=_get_ready, name="get-ready", daemon=True).start()


def let_go_on() -> None:
    """Say that a visitor has the first picture: the rest needn't wait any more."""
    _painted.set()


def _get_ready() -> None:
    for module in FIRST:
        import_module(module)
    _painted.wait(GRACE)
    cached.begin_loading(ModelSource(registry.default_source()))
