"""What the classifier would say of any token, wherever it is on its way through the layers.

The logit lens (nostalgebraist 2020; on Vision Transformers Vilas et al. 2023): the model's own last norm, pooling and
classifier are applied to the residual stream as it is after an earlier layer. For a single token they are applied to an
image all of whose tokens are that one: its head on the normalised token, whichever tokens a classifier reads.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from explorer.attention.recorded import RecordedPass
from explorer.attention.trace import Pass, look_inside
from explorer.errors import QueryError

TOP = 3  # classes kept of every token
BLOCK = 128  # tokens classified at a time


@dataclass(frozen=True)
class Lens:
    """What the classifier says after every layer; index 0 is what enters layer 0, index i + 1 what layer i leaves."""

    classes: Int[np.ndarray, "place token top"]  # of every token, the likeliest first
    probabilities: Float[np.ndarray, "place token top"]  # of these, float32
    target: int  # the class that is followed
    followed: Float[np.ndarray, "place token"]  # its probability for every token, float32
    image: Float[np.ndarray, "place class"]  # of the whole image, read as the model reads it, float32


class Readout:
    """A model's last norm and classifier, applied to tokens one by one: "token width" -> logits "token class"."""

    def __init__(self, made: Pass):
        if made.logits is None:
            raise QueryError(f"{made.recording.model_name} has no classes.")
        self._tail, self._last, self._logits = made.watch.tail, made.stream[-1], made.logits
        self._prefix, self._patches = len(made.recording.prefix_tokens), made.watch.patches
        self._pooling = made.watch.pooling[-1] if made.watch.pooling else None

    def image(self, stream: Float[Tensor, "1 token width"]) -> Float[Tensor, " class"]:
        """The logits of the whole image, were this what the last layer leaves."""
        return self._tail.run(self._last, stream, self._logits)[0][0].float()

    def __call__(self, tokens: Float[Tensor, "token width"]) -> Float[Tensor, "token class"]:
        with torch.no_grad():
            classify = self._alone if self._pooling is None else self._pooled
            return torch.cat([classify(block) for block in tokens.split(BLOCK)]).float()

    def _alone(self, tokens: Tensor) -> Tensor:
        """An image of one patch, and of the prefix tokens, that are all this token."""

        def one(token: Tensor) -> Tensor:
            return self._tail.run(self._last, token.expand(1, self._prefix + 1, -1), self._logits)[0][0]

        return torch.vmap(one)(tokens)

    def _pooled(self, tokens: Tensor) -> Tensor:
        """Attention over tokens that are all alike gives their value, whatever its weights: it is put in its place."""
        assert self._pooling is not None
        out, values = self._pooling.out, []
        for block in tokens.split(self._patches):
            stream = torch.zeros_like(self._last)
            stream[0, self._prefix : self._prefix + len(block)] = block
            (v,) = self._tail.run(self._last, stream, self._pooling.given)
            v = v.repeat_interleave(out.shape[1] // v.shape[1], 1)[0, :, -self._patches :]
            values.append(v[:, : len(block)].transpose(0, 1))

        def one(value: Tensor) -> Tensor:
            return self._tail.run(out, value[None, :, None].expand_as(out), self._logits)[0][0]

        return torch.vmap(one)(torch.cat(values))


def lens(recording: RecordedPass, target: int | str | None = None, top: int = TOP) -> Lens:
    """The likeliest classes of every token after every layer, and the probability of one; None: the predicted one.

    Raises QueryError for a model without classes or without one residual stream, and for an unknown class.
    """
    followed, made = recording.class_index(target), look_inside(recording)
    readout, probabilities = Readout(made), recording.model.probabilities
    places: dict[str, list[Tensor]] = {"classes": [], "probabilities": [], "followed": [], "image": []}
    for stream in made.stream:
        said = probabilities(readout(stream[0]))
        best = said.topk(min(top, said.shape[1]))
        image = probabilities(readout.image(stream))
        for place, found in zip(places.values(), (best.indices, best.values, said[:, followed], image), strict=True):
            place.append(found)
    return Lens(target=followed, **{name: torch.stack(parts).cpu().numpy() for name, parts in places.items()})
