"""One token through one layer in numbers: scores, pattern, values, heads, what attention adds, what the MLP adds.

With q, k and v of a head, x the token as it enters the layer and t any token:
    score[t] = q . k[t] * scale (+ bias),   pattern = softmax(score),   head = sum over t of pattern[t] v[t]
    between = x + projection(all heads joined),   after = between + MLP(between)
Norms lie where the model has them, before each part or after it; a layer scale belongs to what its part adds.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from explorer.attention import weights
from explorer.attention.lens import Readout
from explorer.attention.queries import Query
from explorer.attention.recorded import RecordedPass
from explorer.attention.recorder import self_check
from explorer.attention.trace import Attended, Pass, look_inside
from explorer.errors import QueryError

GAP = 1e-4  # of the stream's largest number: how far the parts may miss it


@dataclass(frozen=True)
class Step:
    """What one layer does to one token; all arrays are float32, keys are all tokens, prefix tokens first."""

    layer: int
    token: int  # its index
    before: Float[np.ndarray, " width"]  # the token as it enters the layer
    q: Float[np.ndarray, "head dim"]
    k: Float[np.ndarray, "head key dim"]
    scale: float  # what q . k is multiplied with
    scores: Float[np.ndarray, "head key"]
    pattern: Float[np.ndarray, "head key"]  # every row sums to 1
    values: Float[np.ndarray, "head key dim"]
    heads: Float[np.ndarray, "head dim"]  # the values, weighted by the pattern and summed
    attention: Float[np.ndarray, " width"]  # what the joined heads add to the token
    mlp: Float[np.ndarray, " width"]  # what the MLP adds
    after: Float[np.ndarray, " width"]  # the token as it leaves the layer
    said: Float[np.ndarray, "2 class"] | None = None  # the classifier's logits for before and after

    @property
    def joined(self) -> Float[np.ndarray, " head*dim"]:
        """All heads, one after the other."""
        return self.heads.ravel()

    @property
    def between(self) -> Float[np.ndarray, " width"]:
        """The token after attention, before the MLP."""
        return self.before + self.attention

    @property
    def norms(self) -> tuple[float, float]:
        """Length of the token before and after the layer."""
        return float(np.linalg.norm(self.before)), float(np.linalg.norm(self.after))

    @property
    def moved(self) -> float:
        """How long the way is from the token before to the token after."""
        return float(np.linalg.norm(self.after - self.before))

    @property
    def cosine(self) -> float:
        """Of the token after to the token before, -1 to 1."""
        before, after = self.norms
        return float(self.before @ self.after / max(before * after, 1e-12))


@dataclass(frozen=True, eq=False)
class LayerPass:
    """One layer of a forward pass: what entered it, what its parts added, for all tokens."""

    recording: RecordedPass
    layer: int
    attended: Attended
    before: Float[Tensor, "token width"]
    attention: Float[Tensor, "token width"]
    mlp: Float[Tensor, "token width"]
    after: Float[Tensor, "token width"]
    readout: Readout | None

    def step(self, query: Query | None = None) -> Step:
        """What the layer does to one token: a prefix token's name or (row, col) of a patch; None: cls."""
        index = token_index(self.recording, query)
        call, row = self.attended.call, slice(index, index + 1)
        q, k, v = (t.float() for t in (call.q[:, index], call.k, self.attended.v))
        bias = call.bias if call.bias is None or call.bias.shape[1] == 1 else call.bias[:, row]
        with weights.full_precision(q.device):
            scores = weights.scores(q[:, None], k, call.scale, None if bias is None else bias.float())
            pattern = scores.softmax(dim=-1)
            heads = torch.bmm(pattern, v)
        self_check(heads, self.attended.out[0, :, row])
        said = self.readout and self.readout(torch.stack([self.before[index], self.after[index]]))
        return Step(
            layer=self.layer, token=index, scale=call.scale, said=None if said is None else _array(said),
            before=_array(self.before[index]), q=_array(q), k=_array(k), scores=_array(scores[:, 0]),
            pattern=_array(pattern[:, 0]), values=_array(v), heads=_array(heads[:, 0]),
            attention=_array(self.attention[index]), mlp=_array(self.mlp[index]), after=_array(self.after[index]),
        )  # fmt: skip


def _array(numbers: Tensor) -> np.ndarray:
    return numbers.float().cpu().numpy()


def token_index(recording: RecordedPass, query: Query | None) -> int:
    """Of one token. Raises QueryError for "mean", and as query_indices() does."""
    indices = recording.query_indices(query)
    if len(indices) > 1:
        known = " or ".join([*recording.prefix_tokens, "a patch (row, col)"])
        raise QueryError(f"A step follows one token: ask for {known}.")
    return indices[0]


def layer_pass(recording: RecordedPass, layer: int) -> LayerPass:
    """One forward pass, of which one layer is kept; negatives count from the end.

    Raises QueryError for a layer that isn't there and for blocks that aren't attention and an MLP, each added to one
    residual stream; so are those whose attention isn't known to be used as it is.
    """
    recording.check_layer(layer)
    layer %= recording.depth
    if not recording.verified:
        raise QueryError(
            f"The blocks of {recording.model_name} are its own, and what they do with their attention isn't known: "
            "its steps can't be told apart."
        )
    made = look_inside(recording)
    attention, mlp = _parts(made, layer)
    before, after = made.stream[layer][0], made.stream[layer + 1][0]
    gap = (before + attention + mlp - after).abs().max() / after.abs().max()
    if not float(gap) <= (GAP if torch.finfo(after.dtype).bits >= 32 else 3e-2):
        raise QueryError(
            f"What attention and MLP add in layer {layer} of {recording.model_name} doesn't add up to what leaves it "
            f"(relative gap {float(gap):.2g}): its steps can't be told apart."
        )
    readout = None if made.logits is None else Readout(made)
    return LayerPass(recording, layer, made.watch.attention[layer], before, attention, mlp, after, readout)


def _parts(made: Pass, layer: int) -> tuple[Tensor, Tensor]:
    """What a layer's attention and its MLP add, "token width"."""
    branches = made.branches(layer)
    if len(branches) != 2:
        found = "one sum" if len(branches) == 1 else f"{len(branches)} sums"
        raise QueryError(
            f"Layer {layer} of {made.recording.model_name} adds to its tokens in {found}, not in two, attention and "
            "MLP one after the other: its steps can't be told apart."
        )
    return branches[0][0], branches[1][0]
