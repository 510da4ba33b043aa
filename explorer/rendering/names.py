"""Names that a person gives for figures: for heads by LAYER.HEAD, for classes by name or number."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from explorer.errors import QueryError

if TYPE_CHECKING:
    from explorer.attention.recording import Recording

LONGEST = 60  # letters of a name
_HEAD = re.compile(r"\d+\.\d+")

Names = Mapping[str, str]  # "9.3" or a class -> its name in figures


def parse_names(lines: Sequence[str]) -> dict[str, str]:
    """ "9.3 = ears", "tabby, tabby cat = cat" -> {"9.3": "ears", …}; empty lines are passed over.

    Raises QueryError for a line without "=" or an empty or overlong name.
    """
    names = {}
    for line in filter(str.strip, lines):
        what, equals, name = (part.strip() for part in line.rpartition("="))
        if not equals or not what or not 0 < len(name) <= LONGEST:
            raise QueryError(
                f"A name is given as 9.3 = ears for layer 9, head 3, or as tabby = cat for a class, not {line!r}."
            )
        names[what] = name
    return names


def head_label(names: Names, layer: int, head: int, default: str) -> str:
    """What a figure calls a head."""
    return names.get(f"{layer}.{head}", default)


def check_heads(names: Names, depth: int, num_heads: int) -> None:
    """Raise QueryError for the name of a head that a model of so many layers and heads lacks."""
    for layer, head in (map(int, what.split(".")) for what in names if _HEAD.fullmatch(what)):
        if layer >= depth or head >= num_heads:
            raise QueryError(f"A name is given to head {head} of layer {layer}, which this model doesn't have.")


def call_classes(recording: "Recording", names: Names) -> "Recording":
    """The recording with its classes renamed, one that is called 9.3 too; QueryError for an unknown class."""
    known = recording.model.class_names or ()
    classes = {what: name for what, name in names.items() if what in known or not _HEAD.fullmatch(what)}
    if not classes:
        return recording
    called = {recording.class_index(what): name for what, name in classes.items()}
    assert recording.logits is not None  # class_index() asks for them
    own = recording.model.class_name
    every = [called.get(index, own(index)) for index in range(len(recording.logits))]
    return replace(recording, model=replace(recording.model, class_names=every))
