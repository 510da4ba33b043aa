"""What a map explains: a class, the difference of two, or the likeness to another photo or to a patch."""

from typing import TYPE_CHECKING, cast

import numpy as np
from torch import Tensor

from explorer.attention.maps.relevance import Score, _anchor, _logit, _similarity, class_index
from explorer.errors import QueryError

if TYPE_CHECKING:
    from explorer.attention.recording import Recording

Class = int | str  # index or name
Target = Class | tuple[Class, Class] | None


def score_of(
    recording: "Recording", target: Target = None, similar_to: "Recording | tuple[int, int] | None" = None
) -> Score:
    """The number to explain, as a function of a pass's tokens "1 token width" and logits "1 class".

    target: a class's index or name, None for the predicted class, or two classes ("tabby", "lynx") for the difference
    of their logits: why the one and not the other. similar_to, for models without classes or instead of one: the
    cosine similarity of the image's feature (cls token, else mean patch token) to that of another recording, or to
    the token of a patch (row, col). Raises QueryError for an unknown class or patch.
    """
    if similar_to is not None:
        return _similarity(recording.query_indices(None), _anchor(recording, similar_to))
    if not isinstance(target, tuple):
        return _logit(recording, target)
    if len(target) != 2:
        raise QueryError(f"A difference is between two classes, not {len(target)}.")
    if recording.logits is not None:
        numbers = {class_index(part, recording.model.class_names, len(recording.logits)) for part in target}
        if len(numbers) == 1:
            raise QueryError(f"Both are class {numbers.pop()}: give two different ones.")
    one, other = (_logit(recording, part) for part in target)
    return lambda tokens, logits: one(tokens, logits) - other(tokens, logits)


def on_patches(recording: "Recording", tokens: Tensor) -> np.ndarray:
    """ "token" -> (rows, cols) float32 without the prefix tokens."""
    patches = tokens.detach()[len(recording.prefix_tokens) :]
    return cast(np.ndarray, patches.unflatten(0, recording.grid).float().cpu().numpy())
