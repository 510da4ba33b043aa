"""Occlusion by dropped tokens: what a score loses when one patch is taken out of the token list. Slow, and plain.

M[t] = S - S without patch t. A patch that no attention may look at, and that the pooling leaves out, is a patch that
isn't there: its key gets a score of minus infinity in every layer, and where the classifier reads a mean, that of the
others. The map is signed. Patches do stand in for each other, so the map says what one alone changes.
"""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.overrides import TorchFunctionMode

from explorer.attention.force_sdpa import visible_attention
from explorer.attention.readers import final_tokens, groups_of, read_pool
from explorer.attention.recorded import RecordedPass
from explorer.attention.scores import Likened, Score, Target, score_of
from explorer.attention.trace import Tail, traced
from explorer.errors import QueryError

BATCH = 8  # passes at a time
MOST_WORK = 5e13  # tokens x parameters x passes on a CPU, estimated as a quarter of an hour on two cores


class DropMode(TorchFunctionMode):
    """Hides one token of each image in a batch from every attention; keeps what follows the last layer."""

    def __init__(self, dropped: Tensor, tokens: int, patches: int, depth: int):
        super().__init__()
        self.tokens, self.patches, self.depth = tokens, patches, depth
        self.hidden = torch.zeros(len(dropped), 1, 1, tokens, device=dropped.device)
        self.hidden[torch.arange(len(dropped)), 0, 0, dropped] = -torch.inf
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


def compute(recording: RecordedPass, target: Target = None, similar_to: Likened = None) -> Float[np.ndarray, "row col"]:
    """float32, signed; one forward pass per patch.

    target, similar_to: as for score_of(). Raises QueryError where the classifier reads its tokens in a way that none
    can be left out of, and on a CPU where it would take more than MOST_WORK.
    """
    score = score_of(recording, target, similar_to)
    check_work(recording)
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
    prefix = len(recording.prefix_tokens)
    patches = torch.arange(prefix, len(recording.tokens), device=recording.model.device)
    without = torch.cat([_scores_without(recording, score, some, place, shared) for some in patches.split(BATCH)])
    return (whole - without).reshape(recording.grid).float().cpu().numpy()


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


@torch.no_grad()
def _scores_without(
    recording: RecordedPass, score: Score, dropped: Tensor, place: int, shared: Tensor | None
) -> Float[Tensor, " image"]:
    """The score without each of these tokens; `shared` are those whose mean the classifier reads."""
    model = recording.model
    rows, cols = recording.grid
    mode = DropMode(dropped, len(recording.tokens), rows * cols, recording.depth)
    pixels = model.pixels(recording.image).expand(len(dropped), -1, -1, -1)
    with visible_attention(model.module), mode:
        tokens, logits = model.forward(pixels)
        if shared is not None:
            final = mode.tail.made(place)
            tokens, logits = mode.tail.run(final, left_out(final, dropped, shared), tokens, logits)
    images = range(len(dropped))
    return torch.stack([score(tokens[i : i + 1], None if logits is None else logits[i : i + 1]) for i in images])


def left_out(
    final: Float[Tensor, "image ... width"], dropped: Tensor, shared: Tensor
) -> Float[Tensor, "image token width"]:
    """The tokens, where each dropped token is the mean of the others that share a mean with it.

    The mean of all is then that of the others. A token that shares none is left as it is.
    """
    flat = final.flatten(1, -2).clone()
    for image, token in enumerate(dropped):
        others = shared[shared != token]
        if len(others) < len(shared):
            flat[image, token] = flat[image, others].mean(dim=0)
    return flat.view(final.shape)
