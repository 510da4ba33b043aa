"""Where things lie: one function per folder, each asked when it is needed.

An environment variable names the folder (a relative one lies below the working folder, ~ is the home folder); unset or
empty, it is the project's own, as project() finds it.
"""

import getpass
import os
import tempfile
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = PACKAGE.parent if (PACKAGE.parent / "pages" / "home.py").is_file() else None
_SHIPPED = _CHECKOUT or PACKAGE  # an installed package holds pages/ and the bundled model itself (setup.py)
PAGES = _SHIPPED / "pages"
BUNDLED = _SHIPPED / "checkpoints" / "bundled"  # the bundled model, whatever EXPLORER_CHECKPOINTS says


def project() -> Path:
    """Where runs/, checkpoints/ and data/ lie: the checkout, or the working folder of an installed explorer."""
    return _CHECKOUT or Path.cwd()


def runs() -> Path:
    """The folder of training runs: EXPLORER_RUNS, or runs/."""
    return _named("EXPLORER_RUNS", project() / "runs")


def checkpoints() -> Path:
    """Where people and training put models: EXPLORER_CHECKPOINTS, or checkpoints/."""
    return _named("EXPLORER_CHECKPOINTS", project() / "checkpoints")


def data() -> Path:
    """The data sets that the app offers from this machine: EXPLORER_DATA, or data/."""
    return _named("EXPLORER_DATA", project() / "data")


def queue() -> Path:
    """The line of this user's training jobs on this machine: EXPLORER_QUEUE, or a folder for temporary files."""
    return _named("EXPLORER_QUEUE", Path(tempfile.gettempdir()) / f"vit-explorer-{getpass.getuser()}")


def _named(variable: str, default: Path) -> Path:
    return Path(os.environ.get(variable) or default).expanduser().resolve()
