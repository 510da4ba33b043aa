"""What a map is asked from: a token or a patch, one head or several; as a person types it, and in words."""

import re
from collections.abc import Sequence
from operator import index

from explorer.errors import QueryError

Query = str | tuple[int, int]  # a prefix token's name, "mean" over the patches, or (row, col) of a patch
Head = int | str  # an index, or how all heads of a layer are fused
FUSIONS = ("mean", "max", "min")


def parse_query(text: str) -> Query:
    """ "cls" -> "cls", "3,4" -> (3, 4); QueryError for a comma between anything but two whole numbers."""
    row, comma, col = text.partition(",")
    if not comma:
        return text
    try:
        return int(row), int(col)
    except ValueError:
        raise QueryError(f"A query is a token's name or a patch as row,col; {text!r} is neither.") from None


def default_query(prefix_tokens: Sequence[str]) -> str:
    """What is asked from where nobody says it: cls, the mean over patches in a model without one."""
    return "cls" if "cls" in prefix_tokens else "mean"


def default_layer(depth: int) -> int:
    """Three quarters up: there, and not in the last layer, maps hold the object best in most supervised models."""
    return min(depth - 1, round(0.75 * depth))


def token_indices(query: Query, prefix_tokens: Sequence[str], grid: tuple[int, int]) -> list[int]:
    """Token indices of a query; several for "mean". Raises QueryError for one that isn't there.

    prefix_tokens: their names, in order; grid: (rows, cols) of the patches that follow them.
    """
    prefix, (rows, cols) = len(prefix_tokens), grid
    if query == "mean":
        return list(range(prefix, prefix + rows * cols))
    if isinstance(query, str):
        if query not in prefix_tokens:
            known = ", ".join((*prefix_tokens, "mean"))
            raise QueryError(f"This model has no {query!r} token; ask from {known} or a patch (row, col).")
        return [list(prefix_tokens).index(query)]
    try:
        row, col = (index(number) for number in query)
    except (TypeError, ValueError) as error:
        raise QueryError(f"A patch is asked for as (row, col), two whole numbers, not {query!r}.") from error
    if not (0 <= row < rows and 0 <= col < cols):
        raise QueryError(f"Patch {row}, {col} lies outside the grid of {rows} rows and {cols} columns.")
    return [prefix + row * cols + col]


def query_text(query: Query) -> str:
    """A query as it is typed: cls, or 3,4 for a patch."""
    return query if isinstance(query, str) else f"{query[0]},{query[1]}"


def query_name(query: Query) -> str:
    """A query in words: cls, the mean of all patches, patch (3, 4)."""
    if isinstance(query, str):
        return "the mean of all patches" if query == "mean" else query
    return f"patch ({query[0]}, {query[1]})"


def query_title(query: Query) -> str:
    """A query in the title of a figure: cls, all patches, patch (3, 4)."""
    return "all patches" if query == "mean" else query_name(query)


def parse_head(text: str) -> Head:
    """ "3" -> 3, "mean" -> "mean"."""
    return int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else text


def head_name(head: Head) -> str:
    """A head in words: head 3, mean of heads."""
    return f"head {head}" if isinstance(head, int) else f"{head} of heads"
