"""Occlusion by dropped tokens: what a score loses when one patch is taken out of the token list. Slow but simple.

M[t] = S - S without patch t. A patch that no attention may look at, and that the pooling leaves out, is a patch that
isn't there: its key gets a score of minus infinity in every layer, and where the classifier reads a mean, that of the
others. The map is signed. Patches do stand in for each other, so the map says what one alone changes.
"""

import numpy as np
import torch
from jaxtyping import Float

from explorer.attention.interventions.editing import NO_VALUES, Editor, find_readout, run, scores
from explorer.attention.interventions.edits import DropPatches
from explorer.attention.interventions.passes import NO_PLACES
from explorer.attention.limits import check_work
from explorer.attention.maps.kind import Progress
from explorer.attention.recorded import RecordedPass
from explorer.attention.scores import Likened, Target, score_of

BATCH = 8  # passes at a time


def compute(
    recording: RecordedPass, target: Target = None, similar_to: Likened = None, progress: Progress | None = None
) -> Float[np.ndarray, "row col"]:
    """float32, signed; one forward pass per patch.

    target, similar_to: as for score_of(); progress: called with the passes done and in all. Raises QueryError where the
    classifier reads its tokens in a way that none can be left out of, and on a CPU where it would take too long.
    """
    score = score_of(recording, target, similar_to)
    rows, cols = recording.grid
    check_work(recording, rows * cols, "patches")
    readout = find_readout(recording, score)
    patches = [DropPatches((divmod(patch, cols),)) for patch in range(rows * cols)]
    without = []
    for start in range(0, len(patches), BATCH):
        some = [(edit,) for edit in patches[start : start + BATCH]]
        tokens, logits = run(Editor(recording, NO_PLACES, some, NO_VALUES, readout))
        without.append(scores(score, tokens, logits))
        if progress:
            progress(start + len(some), len(patches))
    whole = run(Editor(recording, NO_PLACES, [()], NO_VALUES))
    return (scores(score, *whole) - torch.cat(without)).reshape(recording.grid).float().cpu().numpy()
