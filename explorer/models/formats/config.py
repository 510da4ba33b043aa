"""What a model's folder says of itself in JSON; no torch, whose import takes seconds that lists can do without."""

import json
from pathlib import Path
from typing import Any

from explorer.errors import CheckpointError

WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar")


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a folder; CheckpointError where it is missing or unreadable."""
    file = folder / "config.json"
    if not file.is_file():
        raise CheckpointError(f"The folder {folder.name} has no config.json: give one saved by timm or transformers.")
    return read_json(file)


def read_json(file: Path) -> dict[str, Any]:
    """The settings in a JSON file; CheckpointError where they are unreadable."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(
            f"{file.name} in {file.parent.name} isn't readable JSON: save the model again."
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file.name} in {file.parent.name} holds no settings: save the model again.")
    return content
