"""The checkpoints folder as the app sees it."""

import os
from pathlib import Path

from explorer.models.formats.reading import WEIGHT_SUFFIXES
from explorer.models.loading import CHECKPOINTS


def checkpoints_folder() -> Path:
    """EXPLORER_CHECKPOINTS, or checkpoints/ of the project."""
    return Path(os.environ.get("EXPLORER_CHECKPOINTS") or CHECKPOINTS)


def checkpoint_options() -> dict[str, str]:
    """source -> title of every model in the folder, the bundled one left out."""
    folder = checkpoints_folder()
    if not folder.is_dir():
        return {}
    found = [path for path in sorted(folder.iterdir()) if path.name != "bundled" and _is_model(path)]
    return {str(path): f"checkpoints/{path.name}" for path in found}


def is_bare_file(source: str) -> bool:
    """Whether the source is a weights file, which can't tell everything about its model."""
    return Path(source).suffix in WEIGHT_SUFFIXES


def _is_model(path: Path) -> bool:
    return path.suffix in WEIGHT_SUFFIXES if path.is_file() else (path / "config.json").is_file()
