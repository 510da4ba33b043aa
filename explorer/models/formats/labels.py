"""What a folder's settings call its classes, and what its outputs mean."""

import re
from typing import Any, Literal

Outputs = Literal["classes", "labels", "number"]
PLACEHOLDER = re.compile(r"LABEL_\d+")  # what transformers writes where nobody named the classes
SHOWN = 3  # names in a note


def name_classes(labels: Any, count: int) -> tuple[list[str] | None, tuple[str, ...]]:
    """The names of `count` classes in order, and a sentence where some are missing or too many; None without names.

    labels: a list, or a mapping of indices (numbers or texts) to names, as they stand in a config; anything else
    names nothing. A class without a name is "class K".
    """
    named = _by_index(labels)
    placeholders = bool(named) and all(PLACEHOLDER.fullmatch(name) for name in named.values())
    if not named or placeholders or not any(0 <= index < count for index in named):
        return None, ()
    missing = [index for index in range(count) if index not in named]
    extra = [f"{name} ({index})" for index, name in sorted(named.items()) if not 0 <= index < count]
    names = [named.get(index, f"class {index}") for index in range(count)]
    if not missing and not extra:
        return names, ()
    gaps = f"{_first_names([f'class {index}' for index in missing])} without a name" if missing else ""
    unknown = f"{_first_names(extra)} without a class" if extra else ""
    between = " and " if gaps and unknown else ""
    return names, (f"Its config names classes that aren't 0 to {count - 1}, which leaves {gaps}{between}{unknown}.",)


def _by_index(labels: Any) -> dict[int, str]:
    pairs = enumerate(labels) if isinstance(labels, list) else labels.items() if isinstance(labels, dict) else ()
    found: dict[int, str] = {}
    for index, name in pairs:
        text = str(index)
        if re.fullmatch(r"-?\d{1,9}", text) and isinstance(name, (str, int, float)):
            found[int(text)] = str(name)
    return found


def _first_names(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def meaning(problem_type: Any, count: int) -> Outputs:
    """What a classifier's outputs are: classes of which one is right, labels each by itself, or a number.

    problem_type: transformers' word in a config, None where it says nothing; one output alone is then a number.
    """
    if problem_type == "multi_label_classification":
        return "labels"
    if problem_type == "regression" or count == 1:
        return "number"
    return "classes"
