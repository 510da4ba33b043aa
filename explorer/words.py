"""Numbers and lists as people write them; and texts as spreadsheets and charts take them."""

import re
from collections.abc import Sequence
from html import escape
from typing import Any

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)  # not all that float() takes, such as -1_0
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def size_in_words(size: int, digits: int = 0) -> str:
    """Bytes: "11 MB", "1.3 GB"; digits: behind the point of megabytes; without any, at least 1 MB."""
    if size >= 1e9:
        return f"{size / 1e9:,.1f} GB"
    return f"{size / 1e6:,.{digits}f} MB" if digits else f"{max(1, round(size / 1e6)):,} MB"


def duration_in_words(seconds: float) -> str:
    """Seconds: "8 s", "3 min", "2 h 05 min"; at least 1 s."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def percent(share: float, digits: int = 1) -> str:
    """A share of 1: "5.4 %"."""
    return f"{share:.{digits}%}".replace("%", " %")


PERCENT_AXIS: dict[str, Any] = {"ticksuffix": " %", "hoverformat": ".1f"}  # a Plotly axis of values from 0 to 100


def with_sign(value: float, digits: int = 2) -> str:
    """ "+1.80" or "−0.25": with its sign, which is a minus and no hyphen."""
    return f"{value:+.{digits}f}".replace("-", "−")


def count_in_words(count: int, noun: str) -> str:
    """ "1 photo", "2,145 photos"."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def list_in_words(names: Sequence[str], last: str = "and") -> str:
    """ "a", "a and b", "a, b and c"; last: the word before the last name."""
    return f" {last} ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def text_cell(text: str) -> str:
    """The text with an apostrophe in front where a spreadsheet would take it for a formula and run it."""
    if not text.startswith(FORMULA):
        return text
    return text if _NUMBER.fullmatch(text) else f"'{text}"


def chart_text(name: str, longest: int | None = None) -> str:
    """A name so that Plotly shows it as it is: it takes <b> for bold, and knows no entity for quotes.

    longest: letters of it that are shown, by default all.
    """
    short = name if longest is None or len(name) <= longest else f"{name[: longest - 1]}…"
    return escape(short, quote=False)
