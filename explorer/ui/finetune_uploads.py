"""The folder of what people upload to train on or to evaluate, and of what was read out of it."""

import re
from pathlib import Path
from typing import IO

from explorer.data.builtin import BUILTIN
from explorer.errors import DiskError
from explorer.training.jobs import list_runs
from explorer.training.options import runs_folder
from explorer.ui.uploads import keep_upload

# Of the names that keep_data and write_builtin give; nothing else, and no path, is ever taken from an address.
DATA_SET = re.compile(rf"[0-9a-f]{{16}}-(?P<zip>[\w.-]+\.zip)|(?P<builtin>({'|'.join(BUILTIN)})-\d+)")
LIMIT = 8 * 2**30  # bytes of uploads on disk, of all sessions


def uploads_folder() -> Path:
    """Where uploads, and the images read out of them, lie."""
    folder = runs_folder() / ".uploads"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(f"The folder {folder} for uploads can't be made ({error.strerror}).") from error
    return folder


def used_before() -> dict[str, str]:
    """{file name: title} of the data sets that lie there and were read in before, the newest first."""
    paths = sorted(uploads_folder().iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    return {path.name: data_title(path.name) for path in paths if DATA_SET.fullmatch(path.name)}


def data_title(path: str) -> str:
    """What people call the data set at that path."""
    name = Path(path).name
    match = DATA_SET.fullmatch(name)
    return (match["zip"] or match["builtin"]) if match else name


def data_suffix(title: str) -> str:
    """What keep_data adds to a data set's name, so that used_before() lists it under its title."""
    stem = re.sub(r"[^\w.-]+", "-", title.removesuffix(".zip"))[:60]
    return f"-{stem}.zip"


def forget_upload(path: Path) -> None:
    """Delete a file that was uploaded; one that lies elsewhere stays."""
    if path.parent == uploads_folder() and path.is_file():
        path.unlink()


def keep_data(file: IO[bytes], suffix: str) -> Path:
    """The upload on disk, named by its content; the oldest that no run under way still reads make room for it."""
    runs = [run.options for run in list_runs(runs_folder()) if run.options and run.state.active]
    in_use = {Path(name).name for options in runs for name in (options.data, options.stored) if name}
    return keep_upload(file, uploads_folder(), suffix, LIMIT, in_use)
