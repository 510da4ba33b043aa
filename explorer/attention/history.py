"""How attention moved away from where it began: divergence from the start, epoch by epoch of a training."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from explorer.attention.divergence import divergence
from explorer.attention.queries import Query
from explorer.attention.recorded import RecordedPass
from explorer.errors import QueryError


@dataclass(frozen=True)
class History:
    """Jensen-Shannon divergence from the start, "epoch layer head", in bits: 0 the same, 1 nothing in common."""

    epochs: tuple[int, ...]  # 0 is the start itself
    table: np.ndarray

    @property
    def by_layer(self) -> np.ndarray:
        """Mean over heads, "epoch layer"."""
        return self.table.mean(axis=2)

    def rows(self) -> list[tuple[int, int, int, float]]:
        """(epoch, layer, head, bits) of everything, for a table."""
        return [(self.epochs[at], layer, head, float(bits)) for (at, layer, head), bits in np.ndenumerate(self.table)]


def history(
    start: RecordedPass,
    epochs: Iterable[tuple[int, RecordedPass]],
    query: Query | None = None,
    hide_artefacts: bool = False,
) -> History:
    """Every epoch's recording of the same photo held to the start's, from one query; one recording is used at a time.

    hide_artefacts as in divergence. Raises QueryError where an epoch is of another architecture than the start.
    """
    numbers, tables = [0], [np.zeros((start.depth, start.num_heads))]
    for epoch, recording in epochs:
        numbers.append(epoch)
        tables.append(epoch_divergence(start, recording, query, hide_artefacts))
    return History(tuple(numbers), np.stack(tables))


def epoch_divergence(
    start: RecordedPass, recording: RecordedPass, query: Query | None = None, hide_artefacts: bool = False
) -> np.ndarray:
    """ "layer head" divergence of one epoch from the start, in bits."""
    shapes = [(rec.depth, rec.num_heads, rec.patch_size) for rec in (start, recording)]
    if shapes[0] != shapes[1]:
        texts = ["{} layers of {} heads on patches of {} pixels".format(*shape) for shape in shapes]
        raise QueryError(
            f"{recording.model_name} has {texts[1]}, its start {start.model_name} {texts[0]}: give the model that its "
            "training began with."
        )
    return divergence(start, recording, query, hide_artefacts).table
