"""Occlusion by dropped tokens: what a score loses when one patch is taken out of the token list. Slow, and plain.

M[t] = S - S without patch t. The map is signed. Patches do stand in for each other, so the map says what one alone
changes.
"""

import numpy as np
import torch
from jaxtyping import Float

from explorer.attention.maps.kind import Progress
from explorer.attention.recorded import RecordedPass
from explorer.attention.removal import batch_size, dropping, in_batches
from explorer.attention.scores import Likened, Target, score_of
from explorer.errors import QueryError

MOST_WORK = 5e13  # tokens x parameters x passes on a CPU, estimated as a quarter of an hour on two cores


def compute(
    recording: RecordedPass, target: Target = None, similar_to: Likened = None, progress: Progress | None = None
) -> Float[np.ndarray, "row col"]:
    """float32, signed; one forward pass per patch.

    target, similar_to: as for score_of(); progress: called with (passes done, passes in all). Raises QueryError where
    the classifier reads its tokens in a way that none can be left out of, and on a CPU where it would take more than
    MOST_WORK.
    """
    score = score_of(recording, target, similar_to)
    check_work(recording)
    without, patches = dropping(recording, score), recording.grid[0] * recording.grid[1]
    scores: list[torch.Tensor] = []
    for gone in in_batches(np.eye(patches, dtype=bool), batch_size(recording)):
        tokens, logits = without.forward(gone)
        scores += [score(tokens[i : i + 1], None if logits is None else logits[i : i + 1]) for i in range(len(gone))]
        if progress:
            progress(len(scores), patches)
    return (without.whole - torch.stack(scores)).reshape(recording.grid).float().cpu().numpy()


def check_work(recording: RecordedPass) -> None:
    """Raise QueryError, with a size that would do, where a pass for each patch would take too long on a CPU."""
    model, (rows, cols) = recording.model, recording.grid
    work = rows * cols * len(recording.tokens) * model.num_parameters
    if model.device.type != "cpu" or work <= MOST_WORK:
        return
    short = int(min(rows, cols) * (MOST_WORK / work) ** 0.25)
    offer = f"record the image at size {short * model.patch_size} or less, or use a GPU" if short else "use a GPU"
    raise QueryError(
        f"Occlusion runs {model.name} once for each of {rows * cols:,} patches, which takes too long here: {offer}."
    )
