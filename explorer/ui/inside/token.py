"""Which token the page Inside follows, through which layer, at which step and head: its widgets and the address."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import streamlit as st

from explorer.attention.lens import Lens
from explorer.attention.queries import Query
from explorer.attention.recording import Recording
from explorer.attention.step import LayerPass, Step, layer_pass
from explorer.ui import cached
from explorer.ui.address import by_key, number, take, write, write_unless
from explorer.ui.messages import check_link
from explorer.ui.view_settings import change_settings, check_query, checked_query, settings
from explorer.ui.widgets import layer_slider

LAYER, STAGE, HEAD = "inside_layer", "inside_step", "inside_head"  # in the address, too
PICTURE = "inside_picture"  # key of the clickable picture
SAVED: Any = {"persist_state": "session"}
_LENSES: cached.KeptWith[Lens] = cached.KeptWith(2)


@dataclass(frozen=True)
class Followed:
    """One token in one layer, seen in one head."""

    recording: Recording
    inside: LayerPass
    step: Step
    query: Query
    head: int

    @property
    def name(self) -> str:
        """The token in words."""
        return token_names(self.recording)[self.step.token]

    @property
    def patch(self) -> tuple[int, int] | None:
        return self.query if isinstance(self.query, tuple) else None


@lru_cache(1)  # it holds its recording
def kept_pass(rec: Recording, layer: int) -> LayerPass:
    """layer_pass(), kept while tokens and steps change."""
    return cached.in_recording_thread(lambda: layer_pass(rec, layer))


def kept_lens(rec: Recording, target: int | None = None) -> Lens:
    """rec.lens(), kept with the recording."""
    return _LENSES.get(rec, target, lambda: rec.lens(target))


def token_names(rec: Recording) -> Sequence[str]:
    """Every token in words, prefix tokens first."""
    rows, cols = rec.grid
    return (*rec.prefix_tokens, *(f"row {row}, column {col}" for row in range(rows) for col in range(cols)))


def pick_layer(rec: Recording) -> int:
    """The layer, from the first on."""
    read = number(int, 0, rec.depth - 1)
    check_link(LAYER, lambda text: read(text) is not None, f"from 0 to {rec.depth - 1}")
    take(LAYER, read, 0)
    layer = layer_slider("Layer", rec.depth, LAYER)
    write_unless(LAYER, 0)
    return layer


def pick_head(rec: Recording) -> int:
    """One head by its number."""
    labels = {str(head): str(head) for head in range(rec.num_heads)}
    check_link(HEAD, labels.__contains__, f"from 0 to {rec.num_heads - 1}")
    take(HEAD, by_key(labels), "0")
    if rec.num_heads == 1:
        return 0
    head = st.select_slider("Head", list(labels), key=HEAD, **SAVED)
    write_unless(HEAD, "0")
    return int(str(head))


def pick_token(rec: Recording) -> Query:
    """The token that the address, the picture or another page chose; a patch in the middle where none did."""
    check_query(rec)
    query, complaint = checked_query(rec)
    if complaint:
        st.warning(complaint)
    write("query", settings()["query"])
    if settings()["query"] is None or query == "mean":
        return rec.grid[0] // 2, rec.grid[1] // 2
    return query


def follow_patch() -> None:
    """Callback of the picture."""
    row, col = st.session_state[PICTURE]["patch"]
    change_settings(query=f"{row},{col}")


def follow_prefix(name: str) -> None:
    """Callback of a prefix token's button."""
    change_settings(query=name)
