"""What every head does to one score: each is switched off once, a layer's heads side by side in one batch."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from explorer.attention.divergence import jensen_shannon
from explorer.attention.interventions.editing import NO_VALUES, Editor, run, scores
from explorer.attention.interventions.edits import SetHead
from explorer.attention.interventions.effect import default_likeness, score_before
from explorer.attention.interventions.passes import Places, find_places
from explorer.attention.ledger import ledger
from explorer.attention.limits import check_work
from explorer.attention.maps.kind import Progress
from explorer.attention.recorded import RecordedPass
from explorer.attention.scores import Likened, Score, Target, score_of
from explorer.errors import QueryError, UnsupportedModelError

MOST_TOKENS = 16 * 1024  # tokens of one batch, so that memory stays bounded


@dataclass(frozen=True, eq=False)
class HeadEffects:
    """Of every head, "layer head" float32: what it does, what the ledger says it does, and how it looks."""

    score: float
    effects: Float[np.ndarray, "layer head"]  # the score less what it is with the head off: above 0, it speaks for it
    shares: Float[np.ndarray, "layer head"] | None  # by the ledger; None where the model has none
    divergence: Float[np.ndarray, "layer head"]  # of its attention from an even one, in bits

    def correlation(self, with_what: Float[np.ndarray, "layer head"]) -> float:
        """Spearman's rank correlation of the effects with shares; of their sizes with divergences, which have no sign.

        NaN where one of the two is the same everywhere.
        """
        from scipy.stats import spearmanr  # slow to import

        effects = np.abs(self.effects) if with_what is self.divergence else self.effects
        if np.ptp(effects) == 0 or np.ptp(with_what) == 0:
            return float("nan")
        found: Any = spearmanr(effects.ravel(), with_what.ravel())
        return float(found.statistic)


def measure_heads(
    recording: RecordedPass, target: Target = None, similar_to: Likened = None, progress: Progress | None = None
) -> HeadEffects:
    """Switch every head off once. target, similar_to: what is measured, as for score_of().

    Raises QueryError on a CPU where it would take too long.
    """
    score = score_of(recording, target, default_likeness(recording, similar_to))
    check_work(recording, recording.depth * recording.num_heads, "heads")
    places = find_places(recording)
    before, rows = score_before(recording, score), []
    for layer in range(recording.depth):
        rows.append(before - _without(recording, places, layer, score))
        if progress:
            progress(layer + 1, recording.depth)
    return HeadEffects(before, np.stack(rows), _shares(recording, target, similar_to), evenness(recording))


def _without(recording: RecordedPass, places: Places, layer: int, score: Score) -> Float[np.ndarray, " head"]:
    """The score without each head of a layer; the layers before are computed once for all."""
    heads = [(SetHead(layer, head),) for head in range(recording.num_heads)]
    batch = max(1, MOST_TOKENS // len(recording.tokens))
    parts = []
    for start in range(0, len(heads), batch):
        some = heads[start : start + batch]
        one_until = layer if places.entering else None
        tokens, logits = run(Editor(recording, places, some, NO_VALUES, one_until=one_until))
        parts.append(scores(score, tokens, logits).float().cpu().numpy())
    return np.concatenate(parts)


def _shares(recording: RecordedPass, target: Target, similar_to: Likened) -> Float[np.ndarray, "layer head"] | None:
    try:
        return ledger(recording, target, default_likeness(recording, similar_to)).heads.sum(axis=2)
    except (QueryError, UnsupportedModelError):
        return None


def evenness(recording: RecordedPass) -> Float[np.ndarray, "layer head"]:
    """Jensen-Shannon divergence of each head's attention, from the usual query, from an even one, in bits."""
    rows = np.stack([recording.rows(layer) for layer in range(recording.depth)])
    return jensen_shannon(rows, np.ones_like(rows)).astype(np.float32)
