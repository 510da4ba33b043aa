"""What the commands write: never over an input, one file per input, and on to the next where one fails."""

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from pathlib import Path
from typing import TypeVar

from explorer.errors import ExplorerError, QueryError

Item = TypeVar("Item")


def check_output(path: Path, suffixes: Sequence[str] = (), inputs: Iterable[Path | str | None] = ()) -> Path:
    """The path, its folder made; call it before the work starts.

    suffixes: what its name may end in, any where none are given; inputs: what the command reads, files or none. Raises
    QueryError for another ending, for a folder, and where the path is one of the inputs.
    """
    if any(same_file(path, given) for given in inputs if given):
        raise QueryError(f"{path} is an input of this command and would be lost: give another name for the output.")
    if suffixes and path.suffix.lower() not in suffixes:
        raise QueryError(f"{path.name} must end in {', '.join(suffixes[:-1])} or {suffixes[-1]}.")
    if path.is_dir():
        raise QueryError(f"{path} is a folder: name a file to write.")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def check_distinct(*paths: Path | None) -> None:
    """Raise QueryError where two outputs are one file."""
    given = [path for path in paths if path]
    for index, path in enumerate(given):
        if any(same_file(path, other) for other in given[:index]):
            raise QueryError(f"{path} is named for two outputs: give each its own file.")


def same_file(one: Path | str, other: Path | str) -> bool:
    """Whether two paths are one file, by any link or spelling; files needn't exist."""
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):  # one isn't there, or is no path
        return os.path.normcase(os.path.realpath(one)) == os.path.normcase(os.path.realpath(other))


def unique_stems(
    images: Sequence[Path], out: Path = Path(), endings: Sequence[str] = (".png",), inputs: Sequence[Path | str] = ()
) -> list[str]:
    """File names without ending, one for each image; where one is taken, by another image or an input, -2, -3, ….

    endings: of all the files that a name gets in the folder out; inputs: what the command reads beside the images.
    """
    stems, taken = [], set()
    read = {Path(path).resolve() for path in (*images, *inputs)}
    for image in images:
        numbered = (f"{image.stem}-{number}" if number > 1 else image.stem for number in count(1))
        free = (
            stem
            for stem in numbered
            if stem.casefold() not in taken and not any((out / (stem + end)).resolve() in read for end in endings)
        )
        stems.append(next(free))
        taken.add(stems[-1].casefold())  # some systems take Cat.png and cat.png for one file
    return stems


def for_each(items: Iterable[Item], work: Callable[[Item], None], name: Callable[[Item], str] = str) -> int:
    """Do the work for every item; one that fails is named on stderr, and the next ones go on. 0, or 2 where any failed.

    Raises the QueryError of a first item: a wrong option is wrong for all.
    """
    done = failed = 0
    for item in items:
        try:
            work(item)
            done += 1
        except ExplorerError as error:
            if isinstance(error, QueryError) and not done:
                raise
            failed += 1
            message = " ".join(str(error).split())
            named = message if name(item) in message else f"{name(item)}: {message}"
            print(f"error: {named}", file=sys.stderr)
    return 2 if failed else 0
