"""What if? The model's answer with edits beside its own, and the change that the ledger alone predicts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from explorer.attention.interventions.editing import (
    NO_VALUES,
    PART_OF,
    Editor,
    Values,
    check_places,
    find_readout,
    find_values,
    run,
)
from explorer.attention.interventions.edits import (
    CutEdge,
    DropPatches,
    Edit,
    PutToken,
    SetAttention,
    SetHead,
    SetMlp,
    edit_text,
    in_words,
    normalise_edits,
    token_index,
)
from explorer.attention.interventions.passes import find_places
from explorer.attention.ledger import Ledger, account_of, head_gradient
from explorer.attention.recorded import RecordedPass
from explorer.attention.scores import Likened, Score, Target, score_of
from explorer.attention.trace import Trace, open_trace
from explorer.errors import QueryError, UnsupportedModelError
from explorer.models.backbone import Model

TOP = 5


@dataclass(frozen=True)
class ClassChange:
    """One class before and after: its logit, and its probability or what else the model's outputs mean."""

    index: int
    name: str
    logits: tuple[float, float]
    probabilities: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Effect:
    """What some edits do to one photo's answer."""

    edits: tuple[Edit, ...]
    score: tuple[float, float]  # what was asked about, before and after: a class's logit, a difference, a likeness
    ledger_change: float | None  # the change of the score by the ledger; None where it can't say
    before: Float[np.ndarray, " class"] | None  # logits, float32; None where the model has no classes
    after: Float[np.ndarray, " class"] | None
    model: Model = field(repr=False)

    @property
    def change(self) -> float:
        """Of the score."""
        return self.score[1] - self.score[0]

    @property
    def top(self) -> tuple[ClassChange, ...]:
        """The five likeliest classes before, likeliest first, and the likeliest after where it isn't among them."""
        if self.before is None or self.after is None:
            return ()
        shown = list(np.argsort(-self.before, kind="stable")[:TOP])
        best = int(self.after.argmax())
        pairs = [(one, self._probabilities(one)) for one in (self.before, self.after)]
        return tuple(
            ClassChange(
                int(index),
                self.model.class_name(int(index)),
                (float(pairs[0][0][index]), float(pairs[1][0][index])),
                (float(pairs[0][1][index]), float(pairs[1][1][index])),
            )
            for index in (shown if best in shown else [*shown, best])
        )

    def _probabilities(self, logits: np.ndarray) -> np.ndarray:
        return self.model.probabilities(torch.from_numpy(logits).double()).numpy()

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain numbers and words, for JSON."""
        return {
            "edits": [edit_text(edit) for edit in self.edits],
            "in_words": [in_words(edit) for edit in self.edits],
            "score": {"before": self.score[0], "after": self.score[1], "change": self.change},
            "ledger_change": self.ledger_change,
            "classes": [
                {"index": one.index, "name": one.name, "logits": one.logits, "probabilities": one.probabilities}
                for one in self.top
            ],
        }


def what_if(
    recording: RecordedPass,
    edits: Sequence[Edit],
    target: Target = None,
    similar_to: Likened = None,
    photos: Sequence[Image.Image] = (),
    second: Image.Image | None = None,
) -> Effect:
    """Run the recording's image through its model with all edits at once; no edits change nothing, bit for bit.

    target, similar_to: what the change is of, as for score_of(); without classes the likeness to the photo as it was.
    photos: those that edits to "mean" are over; second: where PutToken takes its tokens from; both as the model takes
    them (Model.fit) and of the recording's grid. Raises QueryError for an edit that the recording or its model can't
    take.
    """
    edits = normalise_edits(edits, recording)
    score = score_of(recording, target, default_likeness(recording, similar_to))
    places = find_places(recording)
    check_places(recording, places, edits)
    values = find_values(recording, places, edits, photos, second)
    dropped = any(isinstance(edit, DropPatches) for edit in edits)
    readout = find_readout(recording, score) if dropped else None
    tokens, logits = run(Editor(recording, places, [edits], values, readout))
    return Effect(
        edits=edits,
        score=(score_before(recording, score), float(score(tokens, logits))),
        ledger_change=ledger_change(recording, score, edits, values),
        before=recording.logits,
        after=None if logits is None else logits[0].float().cpu().numpy(),
        model=recording.model,
    )


def default_likeness(recording: RecordedPass, similar_to: Likened) -> Likened:
    """What the image is compared with: given nothing, and without classes, its own unchanged feature."""
    return recording if recording.logits is None and similar_to is None else similar_to


def score_before(recording: RecordedPass, score: Score) -> float:
    """The score of the recording itself."""
    tokens = torch.from_numpy(recording.tokens)[None]
    return float(score(tokens, None if recording.logits is None else torch.from_numpy(recording.logits)[None]))


def ledger_change(
    recording: RecordedPass, score: Score, edits: Sequence[Edit], values: Values = NO_VALUES
) -> float | None:
    """The change of the score by the ledger alone: the shares of what is taken away, and of what is put there instead.

    It counts direct paths: later layers, and softmax, go on as if nothing had happened. None where the model has no
    ledger, and for a token put in, of which the ledger knows nothing.
    """
    if any(isinstance(edit, PutToken) for edit in edits):
        return None
    try:
        with open_trace(recording, score) as trace:
            account = account_of(trace)
            (gradient,) = trace.gradients([trace.stream[-1]], keep=True)
            gone = _heads_gone(account, edits, recording)
            taken = float(account.heads[gone].sum()) + _others_gone(account, edits, recording)
            return sum(_instead(trace, gradient, gone, edit, values) for edit in edits) - taken
    except (QueryError, UnsupportedModelError):
        return None


def _heads_gone(account: Ledger, edits: Sequence[Edit], recording: RecordedPass) -> np.ndarray:
    """ "layer head token": which of the heads' shares are taken away, bool."""
    gone = np.zeros(account.heads.shape, bool)
    for edit in edits:
        if isinstance(edit, DropPatches):
            gone[:, :, [token_index(patch, recording) for patch in edit.patches]] = True
        elif isinstance(edit, SetHead):
            gone[edit.layer, edit.head] = True
        elif isinstance(edit, SetAttention):
            gone[edit.layer] = True
    return gone


def _others_gone(account: Ledger, edits: Sequence[Edit], recording: RecordedPass) -> float:
    """The sum of the shares of embeddings, biases and MLPs that are taken away."""
    patches = {patch for edit in edits if isinstance(edit, DropPatches) for patch in edit.patches}
    taken = float(account.embeddings[[token_index(patch, recording) for patch in patches]].sum())
    taken += sum(float(account.biases[edit.layer]) for edit in edits if isinstance(edit, SetAttention))
    return taken + sum(float(account.mlps[edit.layer]) for edit in edits if isinstance(edit, SetMlp))


def _instead(trace: Trace, gradient: Tensor, gone: np.ndarray, edit: Edit, values: Values) -> float:
    """The share of what an edit puts in place of a part; for a cut edge, minus the share that flowed through it."""
    if isinstance(edit, CutEdge):
        return -_edge_shares(trace, gradient, gone, edit)
    if not isinstance(edit, (SetHead, SetAttention, SetMlp)) or edit.to == "off":
        return 0.0
    value = values.means[PART_OF[type(edit)], edit.layer]
    if isinstance(edit, SetHead):
        return float((head_gradient(trace, edit.layer, gradient)[edit.head] * value[edit.head]).sum())
    return float((gradient[0] * value).sum())


def _edge_shares(trace: Trace, gradient: Tensor, gone: np.ndarray, edit: CutEdge) -> float:
    """What flows to the score through an edge: A[q, k] (v_k . gradient_q), over its layers and heads."""
    recording = trace.recording
    query, key = (token_index(token, recording) for token in (edit.query, edit.key))
    total = 0.0
    for layer in range(recording.depth) if edit.layer is None else [edit.layer]:
        attended = trace.watch.attention[layer]
        pattern = attended.call.pattern(slice(query, query + 1))[:, 0, key]
        flow = (attended.v[:, key] * head_gradient(trace, layer, gradient)[:, query]).sum(dim=-1)
        left = torch.from_numpy(~gone[layer, :, key]).to(flow)
        shares = pattern.to(flow) * flow * left
        total += float(shares.sum() if edit.head is None else shares[edit.head])
    return total
