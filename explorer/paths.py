"""Where things lie: one function per folder, each asked when it is needed.

An environment variable names the folder (a relative one lies below the working folder, ~ is the home folder); unset or
empty, it is the project's own, as project() finds it.

Where the app has many visitors, each thread works for one of them: runs() and checkpoints() then lie in that visitor's
workspace, and may_read() says what else that visitor may open.
"""

import getpass
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = PACKAGE.parent if (PACKAGE.parent / "pages" / "home.py").is_file() else None
_SHIPPED = _CHECKOUT or PACKAGE  # an installed package holds pages/ and the bundled model itself (setup.py)
PAGES = _SHIPPED / "pages"
BUNDLED = _SHIPPED / "checkpoints" / "bundled"  # the bundled model, whatever EXPLORER_CHECKPOINTS says
WORKSPACE = "EXPLORER_WORKSPACE"  # names a training process's visitor

P = ParamSpec("P")
T = TypeVar("T")
_given: ContextVar[tuple[Path | None] | None] = ContextVar("given", default=None)  # by working_for(), in this thread


def project() -> Path:
    """Where runs/, checkpoints/ and data/ lie: the checkout, or the working folder of an installed explorer."""
    return _CHECKOUT or Path.cwd()


def runs() -> Path:
    """The folder of training runs: the visitor's, else EXPLORER_RUNS, or runs/."""
    own = workspace()
    return own / "runs" if own else _named("EXPLORER_RUNS", project() / "runs")


def checkpoints() -> Path:
    """Where people and training put models: the visitor's folder, else the host's."""
    own = workspace()
    return own / "checkpoints" if own else host_checkpoints()


def host_checkpoints() -> Path:
    """The models that everybody is offered: EXPLORER_CHECKPOINTS, or checkpoints/."""
    return _named("EXPLORER_CHECKPOINTS", project() / "checkpoints")


def checkpoint_folders() -> list[Path]:
    """Where models on offer lie: the visitor's own folder before the host's."""
    return list(dict.fromkeys((checkpoints(), host_checkpoints())))


def data() -> Path:
    """The data sets that the app offers from this machine: EXPLORER_DATA, or data/."""
    return _named("EXPLORER_DATA", project() / "data")


def queue() -> Path:
    """The line of this user's training jobs on this machine: EXPLORER_QUEUE, or a folder for temporary files."""
    return _named("EXPLORER_QUEUE", Path(tempfile.gettempdir()) / f"vit-explorer-{getpass.getuser()}")


def workspaces() -> Path:
    """The folder of all visitors' workspaces: EXPLORER_WORKSPACES, or workspaces/."""
    return _named("EXPLORER_WORKSPACES", project() / "workspaces")


def _named(variable: str, default: Path) -> Path:
    return Path(os.environ.get(variable) or default).expanduser().resolve()


def _from_environment() -> Path | None:
    named = os.environ.get(WORKSPACE)
    return Path(named).resolve() if named else None


_find: Callable[[], Path | None] = _from_environment


def find_workspace_with(find: Callable[[], Path | None]) -> None:
    """Have workspace() ask that function in threads without working_for(): what a server does at its start."""
    global _find
    _find = find


def workspace() -> Path | None:
    """The folder of the visitor that this thread works for; None where there are no visitors."""
    given = _given.get()
    return given[0] if given else _find()


@contextmanager
def working_for(folder: Path | None) -> Iterator[None]:
    """In this thread, until the end, workspace() is that folder."""
    token = _given.set((folder,))
    try:
        yield
    finally:
        _given.reset(token)


def for_same_visitor(work: Callable[P, T]) -> Callable[P, T]:
    """The function to hand to another thread, where it works for the visitor of this one."""
    own = workspace()

    @wraps(work)
    def there(*args: P.args, **named: P.kwargs) -> T:
        with working_for(own):
            return work(*args, **named)

    return there


def may_read(path: Path) -> bool:
    """Whether the person of this thread may open that file or folder: a visitor only what is theirs or for everybody.

    Links are not followed: only the host can make them.
    """
    own = workspace()
    place = Path(os.path.abspath(path))
    return own is None or any(place.is_relative_to(folder) for folder in (own, host_checkpoints(), data(), BUNDLED))
