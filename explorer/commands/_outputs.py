"""What the commands write: never over an input, and one file per input."""

import json
import os
from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path
from warnings import catch_warnings
from zipfile import BadZipFile, ZipFile

from PIL import Image

from explorer.errors import QueryError
from explorer.files import write_whole
from explorer.words import list_in_words

LONGEST = 220  # bytes of a name


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
    if not all(os.access(part, os.W_OK) for part in (path, path.parent) if part.exists()):
        raise QueryError(f"{path} can't be written (no permission): name a file in a folder of yours.")
    return path


def check_own_folder(folder: Path, files: Sequence[str], mark: str) -> None:
    """Raise QueryError for a folder with one of these files but without `mark`, which this software leaves there."""
    there = [name for name in files if (folder / name).exists()]
    if there and not (folder / mark).exists():
        raise QueryError(f"{folder} holds a {there[0]} that this command didn't write: name another folder.")


def write_output(path: Path, contents: str | bytes) -> None:
    """Write whole or not at all, so that an earlier result outlives a full disk; where a link leads, which stays."""
    write_whole(Path(os.path.realpath(path)), contents)


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
    """File names without ending, one for each image; where one is taken, it gets -2, -3, ….

    Taken is a name of another image, of an input, and of a file that lies there, unless it is a map of this very image.
    endings: of all the files that a name gets in the folder out; inputs: what the command reads beside the images.
    """
    stems, taken = [], set()
    tried: dict[str, int] = {}  # the last number of each stem: a thousand class folders may all hold a 1.jpg
    read, root = {os.path.realpath(path) for path in (*images, *inputs)}, os.path.realpath(out)
    for image in images:
        stem = _short(Path(image).stem)
        for number in count(tried.get(stem, 0) + 1):
            numbered = f"{stem}-{number}" if number > 1 else stem
            files = [os.path.join(root, numbered + ending) for ending in endings]
            if numbered.casefold() not in taken and not any(
                os.path.realpath(file) in read or _is_of_another(file, image) for file in files
            ):
                break
        tried[stem] = number
        stems.append(numbered)
        taken.add(numbered.casefold())  # some systems take Cat.png and cat.png for one file
    return stems


def _short(stem: str) -> str:
    """The name, cut so that a number and an ending still fit into the 255 bytes that disks take."""
    while len(os.fsencode(stem)) > LONGEST:
        stem = stem[:-1]
    return stem


def _is_of_another(path: str, image: Path | str) -> bool:
    """Whether a file lies there that is no picture or NPZ of this software, or a picture of another image."""
    if not os.path.lexists(path):
        return False
    try:
        if path.lower().endswith(".npz"):
            with ZipFile(path) as arrays:
                return "settings.npy" not in arrays.namelist()
        with catch_warnings(action="error"), Image.open(path, formats=["PNG"]) as picture:
            settings = json.loads(picture.info["explorer"])
        return not same_file(settings["photo"]["image"], image)
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        BadZipFile,
        SyntaxError,
        Warning,
        Image.DecompressionBombError,
    ):
        return True  # no picture, a damaged one, or one that is larger than any of ours
