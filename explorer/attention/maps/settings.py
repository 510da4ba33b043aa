"""The settings that maps take: how each is typed, in what range it lies, and whether a recording has it."""

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from explorer.attention.queries import FUSIONS, Head, Query, head_name, parse_head, parse_query
from explorer.errors import QueryError

if TYPE_CHECKING:  # at run time this module needs no torch: the command line reads it for --help
    from explorer.attention.recorded import RecordedPass

INSTEAD_OF = "instead_of"  # what links and commands call the second class of a difference
SWITCH_WORDS = {"yes": True, "true": True, "1": True, "on": True, "no": False, "false": False, "0": False, "off": False}


class Shape(Protocol):
    """How large a model is."""

    @property
    def depth(self) -> int: ...

    @property
    def num_heads(self) -> int: ...


@dataclass(frozen=True)
class Setting:
    """One setting of a map; two kinds that have a setting of one name mean the same by it.

    name: the keyword of rec.map(); title: of its widget; help: one sentence; alias: what links and the command line
    call it, where that isn't the name; in_app: whether the pages have a widget for it.
    """

    metavar: ClassVar[str | None] = None  # what its value is called in --help, where not as the setting

    name: str
    title: str
    default: Any
    help: str
    alias: str = ""
    in_app: bool = True

    @property
    def key(self) -> str:
        return self.alias or self.name

    @property
    def missing_means(self) -> Any:
        """The value in a stored view, a link or a script of a time before there was this setting."""
        return self.default

    def parse(self, text: str) -> Any:
        """The value as a person typed it; QueryError where it can't be one."""
        return text

    def check(self, value: Any) -> None:
        """Raise QueryError for a value that no recording takes."""

    def check_for(self, value: Any, recording: "RecordedPass") -> None:
        """Raise QueryError for a value that this recording can't take; nothing is computed."""

    def expected(self, shape: Shape) -> str:
        """What would work for a model of that shape, as in "from 0 to 11"."""
        return self.help

    def caption(self, value: Any) -> str:
        """The value in words below a picture; "" where it isn't said there."""
        return ""

    def in_file_name(self, value: Any) -> str:
        """The value as a part of a file's name; "" where it isn't in there."""
        return ""


@dataclass(frozen=True)
class Layer(Setting):
    """The index of one layer; negatives count from the end."""

    def parse(self, text: str) -> int:
        return _whole(self.name, text)

    def check(self, value: Any) -> None:
        if not isinstance(value, Integral):
            raise QueryError(f"{self.name} must be the number of a layer, not {value!r}.")

    def check_for(self, value: Any, recording: "RecordedPass") -> None:
        recording.check_layer(value)

    def caption(self, value: Any) -> str:
        return f"layer {value}"

    def in_file_name(self, value: Any) -> str:
        return f"layer{value}"

    def expected(self, shape: Shape) -> str:
        return f"from 0 to {shape.depth - 1}"


@dataclass(frozen=True)
class FirstLayer(Setting):
    """The index of the first layer that counts, no negatives."""

    def parse(self, text: str) -> int:
        return _whole(self.name, text)

    def check(self, value: Any) -> None:
        if not isinstance(value, Integral) or int(value) < 0:
            raise QueryError(f"{self.name} must be a layer from 0 on, not {value!r}.")

    def check_for(self, value: Any, recording: "RecordedPass") -> None:
        if not isinstance(value, Integral) or not 0 <= int(value) < recording.depth:
            raise QueryError(f"{self.name} must be 0 to {recording.depth - 1}, not {value!r}.")

    def expected(self, shape: Shape) -> str:
        return f"from 0 to {shape.depth - 1}"


@dataclass(frozen=True)
class HeadOrFusion(Setting):
    """One head by its index, or all heads of a layer by their mean, max or min."""

    def parse(self, text: str) -> Head:
        return parse_head(text)

    def check(self, value: Any) -> None:
        if not isinstance(value, Integral) and value not in FUSIONS:
            raise QueryError(f"{self.name} must be the number of a head or one of {', '.join(FUSIONS)}, not {value!r}.")

    def check_for(self, value: Any, recording: "RecordedPass") -> None:
        recording.check_head(value)

    def caption(self, value: Any) -> str:
        return head_name(value)

    def in_file_name(self, value: Any) -> str:
        return value if isinstance(value, str) else f"head{value}"

    def expected(self, shape: Shape) -> str:
        return f"one of {', '.join([*FUSIONS, *map(str, range(shape.num_heads))])}"


@dataclass(frozen=True)
class QueryToken(Setting):
    """The token that asks: a prefix token's name, (row, col) of a patch, "mean", or None for the recording's own."""

    def parse(self, text: str) -> Query:
        return parse_query(text)

    def check_for(self, value: Any, recording: "RecordedPass") -> None:
        recording.query_indices(value)

    def in_file_name(self, value: Any) -> str:
        return value if isinstance(value, str) else f"patch{value[0]}-{value[1]}" if value else ""


@dataclass(frozen=True)
class Choice(Setting):
    """One of a few words."""

    choices: tuple[str, ...] = ()

    def check(self, value: Any) -> None:
        if value not in self.choices:
            raise QueryError(f"{self.name} must be one of {', '.join(self.choices)}, not {value!r}.")

    def expected(self, shape: Shape) -> str:
        return f"one of {', '.join(self.choices)}"


@dataclass(frozen=True)
class Number(Setting):
    """A number from low to high, or below high where `below_high`; `step`: of its slider."""

    low: float = 0.0
    high: float = 1.0
    step: float = 0.05
    below_high: bool = False

    @property
    def slider_end(self) -> float:
        return round(self.high - self.step, 9) if self.below_high else self.high

    def parse(self, text: str) -> float:
        try:
            return float(text)
        except ValueError:
            raise QueryError(f"{self.name} must be a number, not {text!r}.") from None

    def check(self, value: Any) -> None:
        number = float(value) if isinstance(value, Real) else math.nan
        if not self.low <= number <= self.high or (self.below_high and number == self.high):
            up_to = "to below" if self.below_high else "to"
            raise QueryError(f"{self.name} must lie from {self.low:g} {up_to} {self.high:g}, not {value}.")

    def expected(self, shape: Shape) -> str:
        return f"from {self.low:g} to {self.slider_end:g}"


@dataclass(frozen=True)
class Count(Setting):
    """A whole number from low to high."""

    low: int = 1
    high: int = 100

    def parse(self, text: str) -> int:
        return _whole(self.name, text)

    def check(self, value: Any) -> None:
        if not isinstance(value, Integral) or not self.low <= int(value) <= self.high:
            raise QueryError(f"{self.name} must be a whole number from {self.low} to {self.high}, not {value}.")

    def expected(self, shape: Shape) -> str:
        return f"from {self.low} to {self.high}"


@dataclass(frozen=True)
class Switch(Setting):
    """Yes or no; `older`: what stored views, links and scripts without it mean."""

    metavar: ClassVar[str | None] = "YES|NO"

    older: bool = False

    @property
    def missing_means(self) -> bool:
        return self.older

    def parse(self, text: str) -> bool:
        value = SWITCH_WORDS.get(text.strip().casefold())
        if value is None:
            raise QueryError(f"{self.name} must be yes or no, not {text!r}.")
        return value

    def check(self, value: Any) -> None:
        if not isinstance(value, bool):
            raise QueryError(f"{self.name} must be True or False, not {value!r}.")

    def expected(self, shape: Shape) -> str:
        return "yes or no"


@dataclass(frozen=True)
class TargetClass(Setting):
    """A class by its index or name, two of them for the difference of their logits; None: the predicted one.

    On the command line and in links the second one is a setting of its own, `INSTEAD_OF`.
    """

    def check(self, value: Any) -> None:
        if isinstance(value, tuple) and len(value) != 2:
            raise QueryError(f"A difference is between two classes, not {len(value)}.")

    def check_for(self, value: Any, recording: "RecordedPass") -> None:
        self.check(value)
        if value is not None and recording.logits is not None:
            for part in value if isinstance(value, tuple) else (value,):
                recording.class_index(part)


@dataclass(frozen=True)
class Likeness(Setting):
    """What the image is likened to: (row, col) of a patch, another image, or None.

    In a view the other image is a path or "sample:<name>", for rec.map() it is a recording.
    """

    metavar: ClassVar[str | None] = "IMAGE"

    def parse(self, text: str) -> Query:
        try:
            return parse_query(text)
        except QueryError:
            return text  # the path of an image, with a comma

    def check(self, value: Any) -> None:
        if isinstance(value, tuple) and len(value) != 2:
            raise QueryError(f"{self.name} must be a patch (row, col) or another image, not {value!r}.")

    def check_for(self, value: Any, recording: "RecordedPass") -> None:
        if isinstance(value, tuple):
            recording.query_indices(value)
        elif isinstance(value, str):
            raise QueryError(f"{self.name} must be a patch (row, col) or a recording: record {value!r} first.")


def _whole(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise QueryError(f"{name} must be a whole number, not {text!r}.") from None
