"""Workspaces: one folder for each visitor, named by a hash of their identity, deleted a while after the last visit."""

import hashlib
import re
import secrets
import shutil
import time
from contextlib import suppress
from pathlib import Path

from explorer import paths

ID = re.compile(r"[0-9a-f]{32}")  # of a visitor without a login: 128 random bits
_NAME = re.compile(r"[0-9a-f]{32}")  # of a workspace's folder; nothing else is ever taken for one, or deleted
_VISIT = ".visit"  # its time is that of the last visit
_DAY = 24 * 60 * 60


def new_id() -> str:
    """The name of a new visitor, which nobody can guess."""
    return secrets.token_hex(16)


def folder_of(identity: str) -> Path:
    """Where that visitor's workspace lies, or will lie; its name doesn't reveal the identity."""
    return paths.workspaces() / hashlib.sha256(identity.encode()).hexdigest()[:32]


def all_workspaces() -> list[Path]:
    """Every visitor's folder, the last visited first."""
    root = paths.workspaces()
    found = [path for path in root.iterdir() if _NAME.fullmatch(path.name)] if root.is_dir() else []
    return sorted((path for path in found if path.is_dir() and not path.is_symlink()), key=last_visit, reverse=True)


def note_visit(folder: Path) -> None:
    """Note a visit; a visitor who has kept nothing has no folder, and gets none by that."""
    if folder.is_dir():
        with suppress(OSError):  # a full disk
            (folder / _VISIT).touch()


def last_visit(folder: Path) -> float:
    """When its visitor was here last, or a training of theirs at work, in seconds since 1970; 0 for a folder gone."""
    signs = (folder, folder / _VISIT, *folder.glob("runs/*/state.json"))
    return max(map(_time, signs))


def _time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def delete(folder: Path) -> None:
    """Delete a workspace; it disappears in one atomic step."""
    gone = folder.with_name(f".gone-{secrets.token_hex(8)}")
    with suppress(FileNotFoundError):
        folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def delete_unvisited(days: float) -> list[Path]:
    """Delete the workspaces without a visit for so many days; returns them."""
    oldest, found = time.time() - days * _DAY, []
    for folder in all_workspaces():
        if last_visit(folder) < oldest:  # asked only now: to delete the ones before may have taken minutes
            delete(folder)
            found.append(folder)
    return found
