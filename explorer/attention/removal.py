"""A model's answer without some patches: replaced by those of another picture, or taken out of the token list."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor
from torch.overrides import TorchFunctionMode

from explorer.attention.force_sdpa import visible_attention
from explorer.attention.readers import final_tokens, groups_of, read_pool
from explorer.attention.recorded import RecordedPass
from explorer.attention.scores import Score
from explorer.attention.trace import Tail, traced
from explorer.errors import QueryError
from explorer.models.backbone import Model

Gone = Bool[np.ndarray, "image row col"]  # which patches each picture lacks
Fill = Literal["mean", "blur"]
TOKENS = 4096  # in a batch: more don't fit the processor's cache and gain nothing


def batch_size(recording: RecordedPass) -> int:
    """How many pictures of that size go through the model at a time."""
    return max(1, TOKENS // len(recording.tokens))


def filled_image(image: Image.Image, fill: Fill, patch_size: int) -> Image.Image:
    """What a removed patch shows: the image's mean colour, or a Gaussian blur of it two patches wide."""
    pixels = np.array(image)
    if fill == "mean":
        return Image.new("RGB", image.size, tuple(round(c) for c in pixels.mean(axis=(0, 1))))
    if fill == "blur":
        return Image.fromarray(cv2.GaussianBlur(pixels, (0, 0), sigmaX=2 * patch_size))
    raise QueryError(f"fill must be mean or blur, not {fill!r}.")


def replaced(pixels: Tensor, others: Tensor, gone: Gone) -> Float[Tensor, "image channel row col"]:
    """Pictures of `pixels` "1 channel row col" in which patches are those of `others`, of the same shape."""
    rows, cols = pixels.shape[-2] // gone.shape[1], pixels.shape[-1] // gone.shape[2]
    mask = np.kron(gone, np.ones((1, rows, cols), bool))
    return torch.where(torch.from_numpy(mask).to(pixels.device)[:, None], others, pixels)


@torch.no_grad()
def logits_of(model: Model, pictures: Float[Tensor, "image channel row col"]) -> Float[Tensor, "image class"]:
    """The logits of a model that has classes."""
    _, logits = model.forward(pictures)
    assert logits is not None
    return logits


class DropMode(TorchFunctionMode):
    """Hides tokens of each image in a batch from every attention; keeps what follows the last layer."""

    def __init__(self, gone: Bool[Tensor, "image token"], patches: int, depth: int):
        super().__init__()
        self.tokens, self.patches, self.depth = gone.shape[1], patches, depth
        self.hidden = torch.zeros(gone.shape, device=gone.device).masked_fill_(gone, -torch.inf)[:, None, None]
        self.layers = 0
        self.tail = Tail()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        attends = func is F.scaled_dot_product_attention
        out = self._attend(*args, **kwargs) if attends else func(*args, **kwargs)
        if self.layers == self.depth:
            self.tail.add(func, args, kwargs, out)
        return out

    def _attend(self, query, key, value, attn_mask=None, *args, **kwargs):
        keys = key.shape[-2]
        if keys not in (self.tokens, self.patches):
            return F.scaled_dot_product_attention(query, key, value, attn_mask, *args, **kwargs)
        if query.shape[-2] == keys == self.tokens:
            self.layers += 1
        hidden = self.hidden[..., -keys:].to(query.dtype)
        if attn_mask is not None:
            seen = attn_mask.dtype == torch.bool
            hidden = hidden.masked_fill(~attn_mask, -torch.inf) if seen else attn_mask + hidden
        return F.scaled_dot_product_attention(query, key, value, hidden, *args, **kwargs)


@dataclass(frozen=True, eq=False)
class Dropping:
    """A recording's photo, ready to go through its model without some of its tokens.

    A patch that no attention may look at, and that the pooling leaves out, is a patch that isn't there: its key gets a
    score of minus infinity in every layer, and where the classifier reads a mean, that of the others.
    """

    recording: RecordedPass
    pixels: Tensor  # "1 channel row col"
    place: int  # of the last tensor of all tokens, in the tail of a pass
    shared: Int[Tensor, " token"] | None  # those whose mean the classifier reads
    whole: float  # the score of the whole photo

    @torch.no_grad()
    def forward(
        self, gone: Bool[np.ndarray, "image patch"]
    ) -> tuple[Float[Tensor, "image token width"], Float[Tensor, "image class"] | None]:
        """Tokens after the last norm and logits of a photo that lacks those patches; at least one must stay."""
        model, prefix = self.recording.model, len(self.recording.prefix_tokens)
        rows, cols = self.recording.grid
        hidden = F.pad(torch.from_numpy(gone).to(model.device), (prefix, 0))
        mode = DropMode(hidden, rows * cols, self.recording.depth)
        with visible_attention(model.module), mode:
            tokens, logits = model.forward(self.pixels.expand(len(gone), -1, -1, -1))
            if self.shared is not None:
                final = mode.tail.made(self.place)
                tokens, logits = mode.tail.run(final, left_out(final, hidden, self.shared), tokens, logits)
        return tokens, logits


def dropping(recording: RecordedPass, score: Score) -> Dropping:
    """What it takes to drop tokens from what that score is read from.

    Raises QueryError where the classifier reads its tokens in a way that none can be left out of.
    """
    with traced(recording, score, balanced=False) as trace:
        whole, pooled = float(trace.score.detach()), read_pool(trace)
        tensor, gradient = final_tokens(trace)
        place = trace.watch.tail.place(tensor)
    groups = [] if pooled else groups_of(gradient, len(recording.prefix_tokens) + 1)
    if place is None or not (groups or pooled):
        raise QueryError(
            f"{recording.model_name} doesn't read its score from its tokens in a way that is known here, so no patch "
            "can be left out: ask for gradient, attention or rollout."
        )
    shared = next((group for group in groups if len(group) > 1), None)
    return Dropping(recording, recording.model.pixels(recording.image), place, shared, whole)


def left_out(final: Tensor, gone: Bool[Tensor, "image token"], shared: Int[Tensor, " token"]) -> Tensor:
    """ "image … width" in which each token that is gone is the mean of the others that share a mean with it.

    The mean of all is then that of the others. A token that shares none is left as it is.
    """
    flat = final.flatten(1, -2)
    of_mean = torch.zeros(gone.shape[1], dtype=torch.bool, device=gone.device).index_fill_(0, shared, True)
    stays = (of_mean & ~gone)[..., None].to(flat.dtype)
    mean = (flat * stays).sum(dim=1, keepdim=True) / stays.sum(dim=1, keepdim=True)
    return torch.where((of_mean & gone)[..., None], mean, flat).view(final.shape)


def in_batches(gone: Gone, size: int) -> Iterator[Gone]:
    """A few pictures at a time."""
    for start in range(0, len(gone), size):
        yield gone[start : start + size]
