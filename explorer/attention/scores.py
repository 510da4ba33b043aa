"""What a map explains: a class, the difference of two, or the likeness to another photo or to a patch."""

from collections.abc import Callable
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from explorer.attention.recorded import RecordedPass
from explorer.data.samples import SAMPLE
from explorer.errors import QueryError

Class = int | str  # index or name
Target = Class | tuple[Class | None, Class] | None
Likened = RecordedPass | tuple[int, int] | None
Score = Callable[[Tensor, Any], Tensor]  # tokens "1 token width", logits "1 class" or None -> a number


def score_of(recording: RecordedPass, target: Target = None, similar_to: Likened = None) -> Score:
    """The number to explain, as a function of a pass's tokens "1 token width" and logits "1 class".

    target: a class's index or name, None for the predicted class, or two classes ("tabby", "lynx") for the difference
    of their logits: why the one (None: the predicted) and not the other. similar_to, for models without classes or
    instead of one: the cosine similarity of the image's feature (cls token, else mean patch token) to that of another
    recording, or to the token of a patch (row, col). Raises QueryError for an unknown class or patch.
    """
    if similar_to is not None:
        return _similarity(recording.query_indices(None), _anchor(recording, similar_to))
    if recording.logits is None:
        raise QueryError(
            f"{recording.model_name} has no classes: give similar_to, a second recording or a patch (row, col)."
        )
    if not isinstance(target, tuple):
        index = recording.class_index(target)
        return lambda tokens, logits: logits[0, index]
    if len(target) != 2:
        raise QueryError(f"A difference is between two classes, not {len(target)}.")
    one, other = (recording.class_index(part) for part in target)
    if one == other:
        raise QueryError(f"Both are class {one}: give two different ones.")
    return lambda tokens, logits: logits[0, one] - logits[0, other]


def describe_score(recording: RecordedPass, target: Target, similar_to: tuple[int, int] | str | None) -> str:
    """For which class, or for the likeness to what, in a view's terms: the other image is a path."""
    if isinstance(similar_to, str):
        return f"the likeness to {PurePath(similar_to.removeprefix(SAMPLE)).name}"
    if similar_to is not None:
        return f"the likeness to patch {similar_to}"
    if target is None:
        return "the predicted class"
    parts = target if isinstance(target, tuple) else (target,)
    return " rather than ".join(recording.model.class_name(recording.class_index(part)) for part in parts)


def on_patches(recording: RecordedPass, tokens: Float[Tensor, " token"]) -> Float[np.ndarray, "row col"]:
    """The values of the patches, without the prefix tokens."""
    return recording.on_patches(tokens.detach()).float().cpu().numpy()


def _similarity(indices: list[int], anchor: Float[np.ndarray, " width"]) -> Score:
    def score(tokens: Tensor, logits: Tensor | None) -> Tensor:
        feature = tokens[0, indices].float().mean(dim=0)
        return F.cosine_similarity(feature, torch.from_numpy(anchor).to(feature), dim=0)

    return score


def _anchor(recording: RecordedPass, similar_to: RecordedPass | tuple[int, int]) -> Float[np.ndarray, " width"]:
    if isinstance(similar_to, tuple):
        return recording.tokens[recording.query_indices(similar_to)[0]]
    anchor = similar_to.feature
    if anchor.shape != recording.tokens.shape[1:]:
        raise QueryError(
            f"The second image was recorded with another model ({similar_to.model_name}, width {len(anchor)}, not "
            f"{recording.tokens.shape[1]}): record both with the same one."
        )
    return anchor
