"""Class relevance (Chefer et al. 2021, the rule for self-attention): attention weighted by what it does to a class.

A_l = mean over heads of (gradient * A)+, R = (I + A_L) ... (I + A_1), and the cls row of R. The gradient reaches the
last layer first, and so does the row vector: r starts as the cls unit vector and becomes r + r A_l on the way back,
block of rows by block of rows. No matrix of tokens x tokens is ever held.
"""

from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from explorer.attention import weights
from explorer.attention.force_sdpa import visible_attention
from explorer.attention.recorded import RecordedPass
from explorer.attention.sdpa import arguments
from explorer.data.samples import SAMPLE
from explorer.errors import QueryError, RecordingError

BLOCK = 256  # query rows whose softmax is held at a time
MEMORY_BUDGET = 2 * 2**30
Score = Callable[[Tensor, Any], Tensor]  # tokens "1 token width", logits "1 class" or None -> a number
KEPT_PER_TOKEN = 12  # float32 widths that a block keeps for its gradient: measured 11 (GELU MLP) to 13 (SwiGLU)


class _Walk:
    """The row vector on its way from the last layer to the first."""

    def __init__(self, start: Tensor):
        self.calls = 0  # attention calls of the forward pass
        self.rows = [start]  # "token" after none, one, two ... of the last layers

    def push(self, layer: int, heads_sum: Tensor) -> None:
        if layer != self.calls - len(self.rows):
            raise RecordingError("This model's layers don't follow one after another, so relevance can't be traced.")
        self.rows.append(self.rows[-1] + heads_sum)


class _Attention(torch.autograd.Function):
    """softmax(q k^T * scale + bias) v whose backward pass also pushes the walk's row through the layer."""

    @staticmethod
    def forward(ctx, q, k, v, bias, scale, walk):  # q, k, v "1 head token dim"; bias "head|1 token|1 token"
        ctx.save_for_backward(q, k, v)
        ctx.bias, ctx.scale, ctx.walk, ctx.layer = bias, scale, walk, walk.calls
        walk.calls += 1
        return F.scaled_dot_product_attention(q, k, v, None if bias is None else bias[None], scale=scale)

    @staticmethod
    def backward(ctx, *grad_outputs):
        q, k, v, out_grad = (t[0].float() for t in (*ctx.saved_tensors, grad_outputs[0]))
        q_grad, k_grad, v_grad = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        row = ctx.walk.rows[-1]
        pushed = torch.zeros_like(row)
        bias = None if ctx.bias is None else ctx.bias.expand(-1, q.shape[1], -1)
        with weights.full_precision(q.device):
            for start in range(0, q.shape[1], BLOCK):
                block = slice(start, start + BLOCK)
                scores = q[:, block] @ k.transpose(-2, -1) * ctx.scale
                pattern = (scores if bias is None else scores + bias[:, block]).softmax(dim=-1)
                pattern_grad = out_grad[:, block] @ v.transpose(-2, -1)
                relevance = pattern * pattern_grad
                scores_grad = relevance - pattern * relevance.sum(dim=-1, keepdim=True)
                pushed += row[block] @ relevance.clamp_min(0).mean(dim=0)
                q_grad[:, block] = scores_grad @ k * ctx.scale
                k_grad += scores_grad.transpose(-2, -1) @ q[:, block] * ctx.scale
                v_grad += pattern.transpose(-2, -1) @ out_grad[:, block]
        ctx.walk.push(ctx.layer, pushed)
        return *(grad[None].to(grad_outputs[0].dtype) for grad in (q_grad, k_grad, v_grad)), None, None, None


class _RelevanceMode(TorchFunctionMode):
    """Sends every self-attention over `tokens` tokens through _Attention while it is active, in its thread alone."""

    def __init__(self, tokens: int, walk: _Walk):
        super().__init__()
        self.tokens = tokens
        self.walk = walk

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is F.scaled_dot_product_attention:
            asked = arguments(*args, **(kwargs or {}))
            if asked.is_over(self.tokens):
                return _Attention.apply(*asked.each_head(), asked.bias(), asked.scale, self.walk)
        return func(*args, **(kwargs or {}))


def compute(
    recording: RecordedPass,
    target: int | str | None,
    similar_to: RecordedPass | tuple[int, int] | None,
    start_layer: int,
) -> np.ndarray:
    """(rows, cols) float32 of the relevance on the patches."""
    return recording.on_patches(relevance(recording, target, similar_to, start_layer)).cpu().numpy()


def describe(
    recording: RecordedPass, target: int | str | None, similar_to: tuple[int, int] | str | None, **others: object
) -> str:
    """For which class, or for the likeness to what."""
    if isinstance(similar_to, str):
        return f"relevance for the likeness to {PurePath(similar_to.removeprefix(SAMPLE)).name}"
    if similar_to is not None:
        return f"relevance for the likeness to patch {similar_to}"
    if target is None:
        return "relevance for the predicted class"
    known = recording.model.class_name(target) if isinstance(target, int) else f"class {target}"
    return f"relevance for {known}"


def relevance(
    recording: RecordedPass,
    target: int | str | None = None,
    similar_to: RecordedPass | tuple[int, int] | None = None,
    start_layer: int = 0,
    budget: int = MEMORY_BUDGET,
) -> Tensor:
    """The cls row of R = (I + A_L) ... (I + A_start), "token" float32; the mean of the patch rows where there's no cls.

    target: class index or name (case doesn't matter); None: the predicted class. similar_to, for models without classes
    or instead of one: the score is the cosine similarity of this image's feature (cls token, else mean patch token) to
    that of another recording, or to the token of a patch (row, col). Raises QueryError for an unknown class or patch
    and where the pass would keep more than `budget` bytes.
    """
    _check(recording, budget)
    indices = recording.query_indices(None)
    score = _similarity(indices, _anchor(recording, similar_to)) if similar_to else _logit(recording, target)
    model = recording.model
    count = len(recording.tokens)
    start = torch.zeros(count, device=model.device, dtype=torch.float32)
    start[indices] = 1 / len(indices)
    walk = _Walk(start)
    with torch.inference_mode(False), torch.enable_grad():
        pixels = model.pixels(recording.image).requires_grad_()
        with visible_attention(model.module), _RelevanceMode(count, walk):
            tokens, logits = model.forward(pixels)
        if walk.calls != recording.depth:
            raise RecordingError(
                f"{model.name} made {walk.calls} attention calls where {recording.depth} were recorded."
            )
        torch.autograd.grad(score(tokens, logits), pixels)
    return walk.rows[recording.depth - start_layer]


def _similarity(indices: Sequence[int], anchor: np.ndarray) -> Score:
    def score(tokens: Tensor, logits: Tensor | None) -> Tensor:
        feature = tokens[0, list(indices)].float().mean(dim=0)
        return F.cosine_similarity(feature, torch.from_numpy(anchor).to(feature), dim=0)

    return score


def _anchor(recording: RecordedPass, similar_to: RecordedPass | tuple[int, int]) -> np.ndarray:
    if isinstance(similar_to, tuple):
        return recording.tokens[recording.query_indices(similar_to)[0]]
    anchor = similar_to.feature
    if anchor.shape != recording.tokens.shape[1:]:
        raise QueryError(
            f"The second image was recorded with another model ({similar_to.model_name}, width {len(anchor)}, not "
            f"{recording.tokens.shape[1]}): record both with the same one."
        )
    return anchor


def _logit(recording: RecordedPass, target: int | str | None) -> Score:
    if recording.logits is None:
        raise QueryError(
            f"{recording.model_name} has no classes: give similar_to, a second recording or a patch (row, col)."
        )
    index = recording.class_index(target)
    return lambda tokens, logits: logits[0, index]


def kept_bytes(tokens: int, width: int, depth: int) -> int:
    """About how many bytes the forward pass keeps for the gradient: activations, no attention matrices."""
    return 4 * KEPT_PER_TOKEN * tokens * width * depth


def _check(recording: RecordedPass, budget: int) -> None:
    model, (width, height) = recording.model, recording.image.size
    needed = kept_bytes(len(recording.tokens), model.width, model.depth)
    if needed <= budget:
        return
    patches = budget // kept_bytes(1, model.width, model.depth) - len(recording.prefix_tokens)
    short, long = sorted((width, height))
    sides = range(short // model.patch_size, 0, -1)
    fits = next((side for side in sides if side * max(side, round(side * long / short)) <= patches), 0)
    offer = f"record the image at size {fits * model.patch_size} or less" if fits else "use a smaller model"
    raise QueryError(
        f"Relevance at {width}x{height} pixels needs about {needed / 2**30:.2g} GB, above the limit of "
        f"{budget / 2**30:.2g} GB: {offer}."
    )
