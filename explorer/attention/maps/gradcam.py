"""Grad-CAM (Selvaraju et al. 2017) on the tokens of a layer: its channels, weighted by what they do to a score.

M[t] = (sum over channels c of w_c a_tc)+, w_c = mean over patches of dS/da_tc, where a are the tokens that the
layer's q, k and v are made of: after the norm where the layer begins with one, which is where pytorch-grad-cam's
guide points for a ViT. Prefix tokens are left out. Behind the last layer nothing but the cls token matters, so no
layer can be read there.
"""

import numpy as np
from jaxtyping import Float

from explorer.attention.recorded import RecordedPass
from explorer.attention.scores import Likened, Target, on_patches, score_of
from explorer.attention.trace import open_trace
from explorer.errors import QueryError


def compute(
    recording: RecordedPass,
    target: Target = None,
    similar_to: Likened = None,
    layer: int = -1,
) -> Float[np.ndarray, "row col"]:
    """float32, 0 or more.

    target, similar_to: as for score_of(); layer: negatives count from the end. Raises QueryError for a layer that the
    model doesn't have.
    """
    if not -recording.depth <= layer < recording.depth:
        raise QueryError(f"This model has layers 0 to {recording.depth - 1}; {layer} is none of them.")
    with open_trace(recording, score_of(recording, target, similar_to), balanced=False) as trace:
        tokens = trace.watch.entering[layer]
        (gradient,) = trace.gradients([tokens])
    weights = gradient[0, len(recording.prefix_tokens) :].mean(dim=0)
    return on_patches(recording, (tokens[0] @ weights).clamp_min(0))
