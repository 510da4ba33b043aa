"""The class that a map explains, given by its index or its name."""

import difflib
import unicodedata
from collections.abc import Sequence

import numpy as np

from explorer.errors import QueryError


def class_index(target: int | str, class_names: Sequence[str] | None, count: int) -> int:
    """The index of a class given by index, by name or by its index as text; a name that exists comes first.

    The very name comes first, then names in any case, then one of several split by commas. Raises QueryError with near
    matches for an unknown name, with the indices for a name that several classes share.
    """
    if isinstance(target, (int, np.integer)):
        if not 0 <= target < count:
            raise QueryError(f"This model has classes 0 to {count - 1}; {target} is none of them.")
        return int(target)
    wanted, names = _folded(target), class_names or ()
    found = [index for index, name in enumerate(names) if name == target] or _named(wanted, names)
    if len(found) > 1:
        raise QueryError(f"{target!r} names classes {', '.join(map(str, found))}: give one of these numbers.")
    if found:
        return found[0]
    if wanted.isdecimal() and len(wanted) < 10:
        return class_index(int(wanted), class_names, count)
    if class_names is None:
        raise QueryError(f"This model doesn't know its classes' names: give an index from 0 to {count - 1}.")
    raise QueryError(f"There is no class {target!r}{_near_matches(wanted, class_names)}.")


def _folded(name: str) -> str:
    """One spelling for all cases, and for letters with their accents in one character or in two."""
    return unicodedata.normalize("NFC", name).strip().casefold()


def _named(wanted: str, class_names: Sequence[str]) -> list[int]:
    """The indices of all classes of that whole name, else of those that have it among several split by commas."""
    spellings = [[_folded(name), *(part.strip() for part in _folded(name).split(","))] for name in class_names]
    whole = [i for i, names in enumerate(spellings) if names[0] == wanted]
    return whole or [i for i, names in enumerate(spellings) if wanted in names]


def _near_matches(wanted: str, class_names: Sequence[str]) -> str:
    names = {_folded(name): name for name in class_names}
    holding = [name for folded, name in names.items() if wanted and wanted in folded]
    near = holding[:5] or [names[match] for match in difflib.get_close_matches(wanted, names, n=5, cutoff=0.5)]
    return (
        f"; near it are: {'; '.join(near)}" if near else f"; there are {len(class_names)}, the first {class_names[0]!r}"
    )
