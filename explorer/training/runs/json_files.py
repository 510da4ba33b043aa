"""The JSON files of a run: written whole or not at all, and compared with a shape when they are read.

A shape is a type, a tuple of shapes of which one must fit, a list of one shape for all its items, or a dict of shapes
for the keys that must be there; other keys may be there, too.
"""

import json
import re
import stat
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from explorer.errors import TrainingError
from explorer.files import write_whole

LARGEST_FILE = 2**26  # bytes of a JSON file of a run; one of 100,000 predictions has a quarter of it
LARGEST = 2**53  # integers that a float still tells apart
LONGEST_PATH = 4096  # bytes
NUMBER = (int, float)
LOSS = "loss"  # shape of a number that may be infinite or none


def fits(value: Any, shape: Any) -> bool:
    """Whether a JSON value has that shape, with finite numbers and valid text."""
    if isinstance(shape, tuple):
        return any(fits(value, one) for one in shape)
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(item, shape[0]) for item in value)
    if isinstance(shape, Mapping):
        return isinstance(value, dict) and all(key in value and fits(value[key], part) for key, part in shape.items())
    if shape is None:
        return value is None
    if shape is PurePath:
        return fits(value, str) and _is_path(value)
    if shape == LOSS:
        return type(value) is float or fits(value, int)
    if type(value) is not shape:
        return False
    if shape is str:
        return not re.search("[\ud800-\udfff]", value)  # halves of characters, which no page and no file takes
    return shape not in NUMBER or abs(value) <= LARGEST  # false of NaN, too


def _is_path(text: str) -> bool:
    """Whether the system can be asked for that path: it raises errors for others."""
    parts = re.split(r"[/\\]", text)
    return "\0" not in text and len(text.encode()) < LONGEST_PATH and all(len(part.encode()) < 256 for part in parts)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all."""
    write_whole(path, json.dumps(value, indent=2, ensure_ascii=False))


def read_json(path: Path) -> Any:
    """The value of a JSON file of a run; raises TrainingError for one that is missing, damaged or too large."""
    where = f"{path.name} of the run {path.parent.name!r}"
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):  # a pipe or a device has no end
            raise TrainingError(f"{where} isn't a file.")
        if about.st_size > LARGEST_FILE:
            raise TrainingError(f"{where} is too large to be what a run writes.")
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(f"{where} can't be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:  # no text, no JSON, or nested without end
        raise TrainingError(f"{where} is damaged: it holds no JSON.") from error
