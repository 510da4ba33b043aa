"""See where a Vision Transformer looks: record its attention, ask for any map of it, fine-tune it, and look again.

    >>> import explorer
    >>> model = explorer.load_model("bundled")
    >>> recording = explorer.record(model, "photo.jpg")
    >>> heatmap = recording.attention(layer=-1, head="mean", query="cls")   # (rows, cols) float32
    >>> explorer.overlay(recording.image, heatmap).save("overlay.png")

The names below are imported on first use, so that `import explorer` stays quick.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from explorer.version import VERSION

if TYPE_CHECKING:
    from explorer.attention.recording import Recording as Recording
    from explorer.attention.recording import record as record
    from explorer.data.datasets import read_dataset as read_dataset
    from explorer.models.backbone import Model as Model
    from explorer.models.loading import load_model as load_model
    from explorer.models.source import ModelSource as ModelSource
    from explorer.rendering.overlay import overlay as overlay
    from explorer.rendering.view import Look as Look
    from explorer.rendering.view import MapChoice as MapChoice
    from explorer.rendering.view import PhotoInput as PhotoInput
    from explorer.rendering.view import View as View
    from explorer.training.finetune import finetune as finetune
    from explorer.training.plan import Plan as Plan

__version__ = VERSION

_HOME = {
    "Look": "explorer.rendering.view",
    "MapChoice": "explorer.rendering.view",
    "Model": "explorer.models.backbone",
    "ModelSource": "explorer.models.source",
    "PhotoInput": "explorer.rendering.view",
    "Plan": "explorer.training.plan",
    "Recording": "explorer.attention.recording",
    "View": "explorer.rendering.view",
    "finetune": "explorer.training.finetune",
    "load_model": "explorer.models.loading",
    "overlay": "explorer.rendering.overlay",
    "read_dataset": "explorer.data.datasets",
    "record": "explorer.attention.recording",
}
__all__ = [
    "Look", "MapChoice", "Model", "ModelSource", "PhotoInput", "Plan", "Recording", "View", "finetune", "load_model",
    "overlay", "read_dataset", "record",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'explorer' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def _show_in_notebooks() -> None:
    """Where this is imported in a notebook, its results show themselves as the last line of a cell."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None:
        import_module("explorer.web.notebook").register(shell)


_show_in_notebooks()
