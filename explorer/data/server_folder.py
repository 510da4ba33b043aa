"""Data sets that lie on the server: only those below one configured folder can be chosen from the app."""

from pathlib import Path

from explorer import paths
from explorer.errors import DataError


def server_datasets() -> list[str]:
    """Names of the folders and zips directly in the data folder; none where the folder is absent."""
    root = paths.data()
    if not root.is_dir():
        return []
    entries = [path for path in root.iterdir() if path.is_dir() or path.suffix.lower() == ".zip"]
    return sorted(path.name for path in entries if not path.name.startswith(".") and _is_below(path, root))


def server_dataset(name: str) -> Path:
    """The path of a data set below the data folder; DataError where `name` leads out of it or to nothing."""
    root = paths.data()
    path = root / name
    if not _is_below(path, root):
        raise DataError(f"'{name}' lies outside the data folder; choose one of the data sets listed there.")
    if not path.exists():
        raise DataError(f"There is no '{name}' in the data folder {root}; choose one of the data sets listed there.")
    return path.resolve()


def _is_below(path: Path, root: Path) -> bool:
    """Whether the path, with its links followed, lies inside root."""
    try:
        return root in path.resolve().parents
    except (OSError, RuntimeError, ValueError):  # a loop of links (RuntimeError before Python 3.13), a null byte
        return False
