"""What a model does with the result of its attention: known of the libraries' own blocks, followed in all others."""

from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from explorer.attention.residual import ADDITIONS

LIBRARIES = {"timm", "transformers", "torch", "torchvision", "explorer"}
REPLACED = {"forward", "forward_features", "forward_head", "_pos_embed"}  # what people put their own in the place of
SAME = 1e-4  # relative error of a branch beside what was projected, times one number per channel


def has_own_blocks(module: nn.Module) -> bool:
    """Whether every part of it is a class of timm, transformers or torch with the forward pass that it has there."""
    return all(_is_own(part) for part in module.modules())


def _is_own(part: nn.Module) -> bool:
    kind = type(part)
    hooked = part._forward_hooks or part._forward_pre_hooks
    replaced = REPLACED & vars(part).keys()
    return not (replaced or hooked) and _is_librarys(kind.__module__, getattr(kind.forward, "__module__", None))


@cache
def _is_librarys(place: str, of_forward: str | None) -> bool:
    """Whether a class of that module, with a forward pass of that other one, is a library's."""
    return all(module.split(".")[0] in LIBRARIES for module in (place, of_forward or place))


class Follower:
    """Follows the results of attention to the residual stream: `found` counts those that arrived as they left.

    The next linear layer over all tokens must take softmax(q k^T) v itself, its heads side by side, and the next sum
    must take what that gives, token by token, perhaps times one number per channel (layer scale). A result that is
    ignored, mixed, reordered or normalised on the way isn't found.
    """

    def __init__(self):
        self.found = 0
        self._left: Tensor | None = None
        self._projecting = False
        self._projected: Tensor | None = None

    def attended(self, out: Float[Tensor, "1 head token dim"]) -> None:
        """Call with the result of each kept attention."""
        self._left = out.transpose(1, 2).flatten(2).clone()  # which the model can't write to
        self._projected = None

    def before(self, func, args, kwargs) -> None:
        """Call ahead of each function of the pass."""
        if self._left is not None and func is F.linear:
            taken = args[0] if args else kwargs["input"]
            if taken.shape[:-1] == self._left.shape[:-1]:
                self._projecting = taken.shape == self._left.shape and torch.equal(taken, self._left)
                self._left = None
        elif self._projected is not None and func in ADDITIONS:
            shape = self._projected.shape
            terms = [term for term in args[:2] if isinstance(term, Tensor) and term.shape == shape]
            if len(terms) == 2:
                self.found += int(any(_is_scaled(term, self._projected) for term in terms))
                self._projected = None

    def after(self, out) -> None:
        """Call with the result of each function of the pass."""
        if self._projecting:
            self._projected, self._projecting = out.clone(), False


def _is_scaled(term: Float[Tensor, "1 token width"], projected: Float[Tensor, "1 token width"]) -> bool:
    """Whether the term is what was projected, times one number per channel that isn't 0 everywhere."""
    term, projected = term.float(), projected.float()
    scale = (term * projected).sum(1, keepdim=True) / (projected * projected).sum(1, keepdim=True).clamp_min(1e-20)
    largest = term.abs().max()
    return bool(largest > 0) and bool((term - scale * projected).abs().max() <= SAME * largest)
