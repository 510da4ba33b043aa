"""What a model does with the result of its attention: known of the libraries' own blocks, followed in all others."""

from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

LIBRARIES = {"timm", "transformers", "torch", "torchvision", "explorer"}


def has_own_blocks(module: nn.Module) -> bool:
    """Whether every part of it is a class of timm, transformers or torch with the forward pass that it has there."""
    return all(_is_own(part) for part in module.modules())


def _is_own(part: nn.Module) -> bool:
    kind = type(part)
    return "forward" not in vars(part) and _is_librarys(kind.__module__, getattr(kind.forward, "__module__", None))


@cache
def _is_librarys(place: str, of_forward: str | None) -> bool:
    """Whether a class of that module, with a forward pass of that other one, is a library's."""
    return all(module.split(".")[0] in LIBRARIES for module in (place, of_forward or place))


class Follower:
    """Follows the results of attention into the projections: `found` counts those that arrived as they left.

    The next linear layer over all tokens must take softmax(q k^T) v itself, its heads side by side. A result that is
    ignored, mixed, reordered or normalised on the way isn't found.
    """

    def __init__(self):
        self.found = 0
        self._left: Tensor | None = None

    def attended(self, out: Float[Tensor, "1 head token dim"]) -> None:
        """Call with the result of each kept attention."""
        self._left = out.transpose(1, 2).flatten(2).clone()  # which the model can't write to

    def before(self, func, args, kwargs) -> None:
        """Call ahead of each function of the pass."""
        if self._left is None or func is not F.linear:
            return
        taken = args[0] if args else kwargs["input"]
        if taken.shape[:-1] == self._left.shape[:-1]:
            self.found += int(taken.shape == self._left.shape and torch.equal(taken, self._left))
            self._left = None
