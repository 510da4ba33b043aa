"""How far two recordings of one photo look apart: Jensen-Shannon divergence per head, and difference maps.

Grids of different patch sizes are compared on the image: each patch spreads its probability evenly over its area.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped
from scipy.special import rel_entr

from explorer.attention.artefacts import artefact_mask
from explorer.attention.queries import Query
from explorer.attention.recorded import RecordedPass
from explorer.errors import QueryError

Grid = tuple[int, int]


@dataclass(frozen=True)
class Change:
    """One head's divergence between two recordings."""

    layer: int  # of the first recording
    other_layer: int  # of the second
    head: int | str  # "mean" where the heads of the two models aren't paired
    bits: float


@dataclass(frozen=True)
class Divergence:
    """Jensen-Shannon divergence of two recordings in bits: 0 the same, 1 nothing in common."""

    table: Float[np.ndarray, "layer head"]
    layers: tuple[tuple[int, int], ...]  # which layer of the first is compared with which of the second
    heads: tuple[int | str, ...]

    def most_changed(self) -> list[Change]:
        """All heads, the most changed one first."""
        order = np.argsort(-self.table.ravel(), kind="stable")
        places = (divmod(int(place), len(self.heads)) for place in order)
        return [Change(*self.layers[row], self.heads[col], float(self.table[row, col])) for row, col in places]

    def rows(self) -> list[tuple[str, ...]]:
        """A table with its heading: (layer, other layer, head, bits) of every head, the most changed first."""
        changes = (
            (change.layer, change.other_layer, change.head, f"{change.bits:.4f}") for change in self.most_changed()
        )
        return [("layer", "other layer", "head", "bits"), *(tuple(map(str, change)) for change in changes)]


def jensen_shannon(
    p: Shaped[np.ndarray, "*rows cell"], q: Shaped[np.ndarray, "*rows cell"]
) -> Float[np.ndarray, "*rows"]:
    """JS(p, q) = (KL(p, m) + KL(q, m)) / 2 with m = (p + q) / 2 over the last axis, in bits; p and q are normalised.

    Where all entries of one are 0 there is nothing to normalise: 1 bit, or 0 where the other is empty too.
    """
    p, q = (normalise(a) for a in (p, q))
    m = (p + q) / 2
    nats = (rel_entr(p, m).sum(axis=-1) + rel_entr(q, m).sum(axis=-1)) / 2
    bits = np.clip(nats / np.log(2), 0, 1)
    return np.where(p.any(axis=-1) == q.any(axis=-1), bits, 1.0)


def normalise(weights: Shaped[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Weights over their sum along the last axis, float64; zeros where all are zero."""
    weights = weights.astype(np.float64)
    total = weights.sum(axis=-1, keepdims=True)
    return np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)


def divergence(
    first: RecordedPass,
    second: RecordedPass,
    query: Query | None = None,
    hide_artefacts: bool = False,
    pair_heads: bool = True,
) -> Divergence:
    """Divergence of every head of two recordings of the same photo, from one query (a patch is one of `first`).

    With the same grid and prefix tokens, over all tokens; otherwise over the patches, on the image. Models with other
    numbers of heads are compared by their head means, with other depths at the same relative depth. pair_heads: False
    for models that don't come from each other, whose heads have nothing in common but their numbers. hide_artefacts:
    the artefact tokens of either are taken out of both, and the rest is normalised; QueryError where their norms aren't
    known.
    """
    check_same_view(first, second)
    hidden = (artefact_mask(first), artefact_mask(second)) if hide_artefacts else None
    query = first.default_query if query is None else query
    other_query = matching_query(query, first.grid, second.grid)
    by_head = pair_heads and first.num_heads == second.num_heads
    layers = tuple((layer, same_depth(layer, first.depth, second.depth)) for layer in range(first.depth))
    rows = []
    for layer, other_layer in layers:
        if _over_tokens(first, second):
            p, q = first.rows(layer, query), second.rows(other_layer, other_query)
            if hidden:
                p, q = (_without(row, hidden[0] | hidden[1]) for row in (p, q))
        else:
            maps = on_common_cells(first.heads(layer, query), second.heads(other_layer, other_query))
            p, q = (heads.reshape(len(heads), -1) for heads in maps)
            if hidden:
                p, q = (_without(cells, _hidden_cells(*hidden)) for cells in (p, q))
        rows.append(jensen_shannon(p, q) if by_head else jensen_shannon(p.mean(axis=0), q.mean(axis=0))[None])
    return Divergence(np.array(rows), layers, tuple(range(first.num_heads)) if by_head else ("mean",))


def _over_tokens(first: RecordedPass, second: RecordedPass) -> bool:
    return first.grid == second.grid and first.prefix_tokens == second.prefix_tokens


def _without(weights: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Weights "head token" or "head cell" with 0 at the hidden ones, which are the last of them where tokens lead."""
    kept = weights.copy()
    kept[:, -hidden.size :][:, hidden.ravel()] = 0
    return kept


def _hidden_cells(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Which of the common cells lie in a hidden patch of either grid, bool."""
    return np.logical_or(*(cells > 1e-9 for cells in on_common_cells(first.astype(float), second.astype(float))))


def same_depth(layer: int, depth: int, other_depth: int) -> int:
    """The layer of a model of other depth at the same relative depth."""
    return layer if depth == other_depth else round(layer * (other_depth - 1) / max(depth - 1, 1))


def check_same_view(first: RecordedPass, second: RecordedPass) -> None:
    """Raise QueryError where the two don't show the same part of the same photo."""
    if not first.part.same_photo(second.part):
        raise QueryError("The two recordings show different photos: record the same photo with the same fit.")
    pixel = 1 / min(*first.image.size, *second.image.size)
    if not first.part.same_box(second.part, pixel):
        raise QueryError(
            "The two recordings show different parts of the photo, as fit crop does beside squash or keep: record the "
            "same photo with the same fit."
        )


def matching_query(query: Query, grid: Grid, other_grid: Grid) -> Query:
    """The same query in another grid: a patch becomes the one under its middle, a name stays."""
    if isinstance(query, str):
        return query
    row, col = (int((at + 0.5) / n * m) for at, n, m in zip(query, grid, other_grid, strict=True))
    return row, col


def overlaps(
    edges: Float[np.ndarray, " edge"], other_edges: Float[np.ndarray, " other_edge"]
) -> Float[np.ndarray, "other cell"]:
    """Which share of each cell between `edges` lies in each cell between `other_edges`."""
    low = np.maximum(edges[None, :-1], other_edges[:-1, None])
    high = np.minimum(edges[None, 1:], other_edges[1:, None])
    return np.clip(high - low, 0, None) / np.diff(edges)[None]


def resample(heatmap: Float[np.ndarray, "*maps row col"], grid: Grid) -> Float[np.ndarray, "*maps new_row new_col"]:
    """Maps onto another grid over the same image, weighted by area; the sum stays."""
    edges = [np.linspace(0, 1, n + 1) for n in grid]
    return _spread(heatmap, edges[0], edges[1])


def _spread(heatmap: np.ndarray, row_edges: np.ndarray, col_edges: np.ndarray) -> np.ndarray:
    rows, cols = heatmap.shape[-2:]
    down = overlaps(np.linspace(0, 1, rows + 1), row_edges)
    across = overlaps(np.linspace(0, 1, cols + 1), col_edges)
    return down @ heatmap @ across.T


def on_common_cells(
    p: Float[np.ndarray, "*maps row col"], q: Float[np.ndarray, "*maps2 row2 col2"]
) -> tuple[Float[np.ndarray, "*maps cell_row cell_col"], Float[np.ndarray, "*maps2 cell_row cell_col"]]:
    """Both on the cells that the lines of both grids cut the image into, which is exact."""
    edges = []
    for axis in (-2, -1):
        lines = np.concatenate([np.linspace(0, 1, a.shape[axis] + 1) for a in (p, q)])
        edges.append(np.unique(lines.round(12)))
    return _spread(p, *edges), _spread(q, *edges)


def difference(
    first: Float[np.ndarray, "row col"], second: Float[np.ndarray, "row2 col2"]
) -> Float[np.ndarray, "finer_row finer_col"]:
    """second - first, float32, each as a share of its own sum, on the finer of the two grids.

    Positive where the second looks more. Relative shares, so that a patch size or the weight on prefix tokens doesn't
    pass for a change of place.
    """
    grid = max(first.shape, second.shape, key=lambda shape: shape[0] * shape[1])
    shares = [resample(heatmap / max(heatmap.sum(), np.finfo(np.float32).tiny), grid) for heatmap in (first, second)]
    return (shares[1] - shares[0]).astype(np.float32)


@dataclass(frozen=True)
class History:
    """Jensen-Shannon divergence from the start in bits: 0 the same, 1 nothing in common."""

    epochs: tuple[int, ...]  # 0 is the start itself
    table: Float[np.ndarray, "epoch layer head"]

    @property
    def by_layer(self) -> Float[np.ndarray, "epoch layer"]:
        """Mean over heads."""
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
    """Every epoch's recording of the same photo compared with the start's, from one query, one after another.

    hide_artefacts as in divergence. Raises QueryError where an epoch is of another architecture than the start.
    """
    numbers, tables = [0], [np.zeros((start.depth, start.num_heads))]
    for epoch, recording in epochs:
        numbers.append(epoch)
        tables.append(epoch_divergence(start, recording, query, hide_artefacts))
    return History(tuple(numbers), np.stack(tables))


def epoch_divergence(
    start: RecordedPass, recording: RecordedPass, query: Query | None = None, hide_artefacts: bool = False
) -> Float[np.ndarray, "layer head"]:
    """Divergence of one epoch from the start, in bits."""
    shapes = [(rec.depth, rec.num_heads, rec.patch_size) for rec in (start, recording)]
    if shapes[0] != shapes[1]:
        texts = ["{} layers of {} heads on patches of {} pixels".format(*shape) for shape in shapes]
        raise QueryError(
            f"{recording.model_name} has {texts[1]}, its start {start.model_name} {texts[0]}: give the model that its "
            "training began with."
        )
    return divergence(start, recording, query, hide_artefacts).table
