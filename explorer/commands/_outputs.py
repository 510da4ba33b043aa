"""What the commands write: never over an input, and one file per input."""

import os
from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path

from explorer.errors import QueryError
from explorer.words import list_in_words


def check_output(path: Path, suffixes: Sequence[str] = (), inputs: Iterable[Path | str | None] = ()) -> Path:
    """The path, its folder made; call it before the work starts.

    suffixes: what its name may end in, any where none are given; inputs: what the command reads, files or none. Raises
    QueryError for another ending, for a folder, where the path is one of the inputs, and where nothing may be written.
    """
    if any(same_file(path, given) for given in inputs if given):
        raise QueryError(f"{path} is an input of this command and would be lost: give another name for the output.")
    if suffixes and path.suffix.lower() not in suffixes:
        raise QueryError(f"{path.name} must end in {list_in_words(suffixes, 'or')}.")
    if path.is_dir():
        raise QueryError(f"{path} is a folder: name a file to write.")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise QueryError(f"{path} can't be written (no permission): name a file in a folder of yours.")
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
    images: Sequence[Path | str],
    out: Path = Path(),
    endings: Sequence[str] = (".png",),
    inputs: Sequence[Path | str] = (),
) -> list[str]:
    """File names without ending, one for each image; where one is taken, by another image or an input, -2, -3, ….

    endings: of all the files that a name gets in the folder out; inputs: what the command reads beside the images.
    """
    stems, taken = [], set()
    tried: dict[str, int] = {}  # the last number of each stem: a thousand class folders may all hold a 1.jpg
    read, root = {os.path.realpath(path) for path in (*images, *inputs)}, os.path.realpath(out)
    for stem in (Path(image).stem for image in images):
        for number in count(tried.get(stem, 0) + 1):
            numbered = f"{stem}-{number}" if number > 1 else stem
            if numbered.casefold() not in taken and not any(
                os.path.realpath(os.path.join(root, numbered + end)) in read for end in endings
            ):
                break
        tried[stem] = number
        stems.append(numbered)
        taken.add(numbered.casefold())  # some systems take Cat.png and cat.png for one file
    return stems
