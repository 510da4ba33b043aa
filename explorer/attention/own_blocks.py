"""What a model does with the result of its attention: known for the libraries' own blocks, followed in all others."""

from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from explorer.attention.residual import ADDITIONS

LIBRARIES = {"timm", "transformers", "torch", "torchvision", "explorer"}
REPLACED = {"forward", "forward_features", "forward_head", "_pos_embed"}  # what users may have replaced
NORMS = {F.layer_norm, F.rms_norm}
SAME = 1e-4  # relative error of a branch beside what was projected, times one number per channel


def has_own_blocks(module: nn.Module) -> bool:
    """Whether every part of it is a class of timm, transformers or torch with the forward pass that it has there."""
    return all(_is_own(part) for part in module.modules())


def _is_own(part: nn.Module) -> bool:
    kind = type(part)
    hooked = part._forward_hooks or part._forward_pre_hooks
    replaced = REPLACED & vars(part).keys()
    # transformers' blocks send q, k and v to a function of any name that somebody registered.
    registered = getattr(getattr(part, "config", None), "_attn_implementation", None) not in (None, "sdpa")
    if replaced or hooked or registered:
        return False
    return _is_librarys(kind.__module__, getattr(kind.forward, "__module__", None))


@cache
def _is_librarys(place: str, of_forward: str | None) -> bool:
    """Whether a class of that module, with a forward pass of that other one, is a library's."""
    return all(module.split(".")[0] in LIBRARIES for module in (place, of_forward or place))


class Follower:
    """Follows attention from the residual stream and back: `found` counts the layers where all of it is in order.

    `others` counts the sums in which another softmax took part: an attention that was written out isn't seen.

    v must come from a linear layer over all tokens in their order, and that from the residual stream x or a norm of it.
    The next linear layer must take softmax(q k^T) v itself, its heads side by side, and the next sum must take what
    that gives, token by token, perhaps times one number per channel (layer scale), to that very x. A result that is
    ignored, mixed, reordered or normalised on the way isn't found.
    """

    def __init__(self):
        self.found = self.others = 0
        self._tokens = 0
        self._softmax = False  # since the last sum
        self._normed: tuple[Tensor, Tensor] | None = None  # the last norm's x, and what it gave
        self._linear: list[tuple[Tensor, Tensor]] = []  # x behind each linear layer since the last sum, and its result
        self._pending: Tensor | None = None  # the x of the norm or linear layer that runs now
        self._x: Tensor | None = None  # what the last attention was asked of
        self._left: Tensor | None = None
        self._projecting = False
        self._projected: Tensor | None = None

    def attended(self, value: Float[Tensor, "1 head token dim"], out: Float[Tensor, "1 head token dim"]) -> None:
        """Call with the values and the result of each kept attention."""
        self._x = next((x for x, made in self._linear if _in_order(value, made)), None)
        self._left, self._tokens = out.transpose(1, 2).flatten(2).clone(), out.shape[2]  # a copy: it may be written to
        self._projected = None

    def before(self, func, args, kwargs) -> None:
        """Call ahead of each function of the pass."""
        taken = args[0] if args else kwargs.get("input")
        self._pending = taken if func in NORMS and isinstance(taken, Tensor) else None
        self._softmax = self._softmax or func.__name__ == "softmax"
        if func is F.linear and isinstance(taken, Tensor):
            self._before_linear(taken)
        elif func in ADDITIONS and len(args) > 1 and all(isinstance(term, Tensor) for term in args[:2]):
            self._before_sum(*args[:2])

    def _before_linear(self, taken: Tensor) -> None:
        if self._left is None:
            x, normed = self._normed or (None, None)
            self._pending = x if normed is taken else taken
        elif taken.shape[:-1] == self._left.shape[:-1]:
            self._projecting = taken.shape == self._left.shape and torch.equal(taken, self._left)
            self._left = None

    def _before_sum(self, one: Tensor, other: Tensor) -> None:
        if one.ndim == 3 and one.shape == other.shape:
            self._linear.clear()
            self.others += self._softmax and one.shape[1] == self._tokens
            self._softmax = False
        if self._projected is None or not one.shape == other.shape == self._projected.shape:
            return
        for branch, x in ((one, other), (other, one)):
            if self._x is not None and _is_scaled(branch, self._projected) and torch.equal(x, self._x):
                self.found += 1
                break
        self._projected = None

    def after(self, func, out) -> None:
        """Call with the result of each function of the pass."""
        if self._projecting:
            self._projected, self._projecting = out.clone(), False
        elif self._pending is not None and func in NORMS:
            self._normed = self._pending, out
        elif self._pending is not None:
            self._linear.append((self._pending, out.clone()))
        self._pending = None


def _in_order(value: Float[Tensor, "1 head token dim"], made: Tensor) -> bool:
    """Whether the values stand in a linear layer's result "1 token channel", token by token, a channel per head."""
    if made.ndim != 3 or made.shape[1] != value.shape[2]:
        return False
    channels = made[0].T
    return all(bool((channels == head[:, 0]).all(1).any()) for head in value[0])


def _is_scaled(term: Float[Tensor, "1 token width"], projected: Float[Tensor, "1 token width"]) -> bool:
    """Whether the term is what was projected, times one number per channel that isn't 0 everywhere."""
    term, projected = term.float(), projected.float()
    scale = (term * projected).sum(1, keepdim=True) / (projected * projected).sum(1, keepdim=True).clamp_min(1e-20)
    largest = term.abs().max()
    return bool(largest > 0) and bool((term - scale * projected).abs().max() <= SAME * largest)
