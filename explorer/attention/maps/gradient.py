"""Token times its balanced gradient, summed over the layers: FullGrad+ of LibraGrad (Mehri et al., CVPR 2025).

M[t] = sum over layers l of x_l[t] . dS/dx_l[t], where x_l is the residual stream as it enters layer l, S the score
and the gradient the balanced one. The map is signed: patches above 0 speak for the score, those below 0 against it.
Each layer's summands and the shares of all biases after it add up to the score.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from explorer.attention.balanced import BALANCED_PARTS, Completeness
from explorer.attention.recorded import RecordedPass
from explorer.attention.scores import Likened, Target, on_patches, score_of
from explorer.attention.trace import open_trace


@dataclass(frozen=True)
class Attribution:
    """A map, and how closely it and the biases add up to the score."""

    heatmap: Float[np.ndarray, "row col"]  # float32, signed
    layers: Float[np.ndarray, "layer token"]  # float32: each layer's summand
    completeness: Completeness  # of what enters layer 0

    @property
    def note(self) -> str:
        return self.completeness.note(BALANCED_PARTS)


def attribution(recording: RecordedPass, target: Target = None, similar_to: Likened = None) -> Attribution:
    """The map with each layer's part, and how closely it adds up to the score.

    Raises QueryError for an unknown target or layers without one residual stream, UnsupportedModelError for an
    operation without a balanced gradient.
    """
    with open_trace(recording, score_of(recording, target, similar_to)) as trace:
        stream = trace.stream[:-1]
        gradients = trace.gradients(stream)
        layers = torch.stack([(x * g).detach().sum(-1)[0] for x, g in zip(stream, gradients, strict=True)])
        completeness = trace.completeness(stream[0], gradients[0])
    return Attribution(on_patches(recording, layers.sum(0)), layers.float().cpu().numpy(), completeness)
