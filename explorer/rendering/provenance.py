"""Where a file comes from: the versions that made it, and the SHA-256 of the weights and of what the model saw."""

import hashlib
import json
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from PIL import Image

from explorer.version import VERSION

if TYPE_CHECKING:  # at run time this module needs no torch: a View is described without it
    from torch import nn

    from explorer.attention.recording import Recording

LIBRARIES = ("torch", "timm", "transformers", "numpy", "pillow")
KEY = "provenance"

_digests: "WeakKeyDictionary[nn.Module, str]" = WeakKeyDictionary()
_lock = Lock()


def provenance(recording: "Recording") -> dict[str, Any]:
    """{"explorer", "python", "libraries": {name: version}, "weights_sha256", "image_sha256"} of a recording.

    weights: every tensor of the model by its name, in the order of the names, as type, shape and bytes; image: the
    size and RGB bytes of what the model saw.
    """
    return {
        "explorer": VERSION,
        "python": sys.version.split()[0],
        "libraries": {name: found for name in LIBRARIES if (found := _version(name))},
        "weights_sha256": weights_digest(recording.model.module),
        "image_sha256": image_digest(recording.image),
    }


def with_provenance(settings: str, recording: "Recording") -> str:
    """A view's settings, View.to_json(), and beside them where the file comes from; View.from_json() reads it."""
    return json.dumps({**json.loads(settings), KEY: provenance(recording)})


def read_provenance(settings: str) -> Mapping[str, Any] | None:
    """What with_provenance() wrote; None in a file of a time before."""
    found = json.loads(settings)
    return found.get(KEY) if isinstance(found, dict) and isinstance(found.get(KEY), dict) else None


def weights_digest(module: "nn.Module") -> str:
    """SHA-256 of all parameters and buffers as they are now in memory; computed once for each module."""
    import torch

    with _lock:
        if module not in _digests:
            digest = hashlib.sha256()
            for name, tensor in sorted(module.state_dict().items()):
                digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
                digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
            _digests[module] = digest.hexdigest()
        return _digests[module]


def image_digest(image: Image.Image) -> str:
    """SHA-256 of an RGB image: its size, then its bytes row by row."""
    digest = hashlib.sha256(f"{image.width}x{image.height}\n".encode())
    digest.update(np.ascontiguousarray(np.array(image.convert("RGB"))).data)
    return digest.hexdigest()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
