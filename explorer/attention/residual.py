"""The residual stream of a forward pass, followed from outside: the norms of what enters every layer."""

from weakref import ref

import torch
from jaxtyping import Float
from torch import Tensor

ADDITIONS = {torch.Tensor.add, torch.Tensor.add_, torch.add}


class ResidualStream:
    """Follows the residual stream x of a forward pass through x = x + attention(...), x = x + mlp(...).

    It begins as the older operand of the first addition after the first attention; from then on each sum with it is the
    new x. `norms` has the L2 norms of x at every attention. Where a layer adds to anything else (a norm after the sum),
    the stream is `broken`: its norms are not known.
    """

    def __init__(self, tokens: int, copies: bool = False):
        """copies: keep one of x, so that reads() tells whether anything changes it in its place."""
        self.tokens, self.copies = tokens, copies
        self.norms: list[Tensor] = []
        self.broken = False
        self._older: list[ref[Tensor]] = []  # what was there before the first attention
        self._layers = 0
        self._x: Tensor | None = None
        self._adding = False
        self._copy: Tensor | None = None
        self.goes_on = False  # whether what comes behind the last layer takes x, where reads() is called
        self.altered = False  # whether some x was another when it was taken

    def follows(self, func) -> bool:
        """Whether a function matters here: any before the first attention, additions from then on."""
        return func in ADDITIONS or not self._layers

    def before(self, args) -> None:
        """Call ahead of each function that matters: an addition in place would change x."""
        self._adding = False
        if not args or not self._is_token_tensor(args[0]):
            return
        if not self._layers:
            self._older.append(ref(args[0]))
        elif len(args) > 1 and self._is_token_tensor(args[1]):
            self._note_sum(args[0], args[1])

    def after(self, out) -> None:
        """Call with the result of each function that matters."""
        if self._adding:
            self._x, self.goes_on = out, False
            self._copy = out.clone() if self.copies else None

    def reads(self, args) -> None:
        """Call ahead of every function, where it has to be known that x goes on as it is."""
        if self._x is None or self._copy is None or not any(arg is self._x for arg in args):
            return
        self.goes_on = True
        self.altered = self.altered or not torch.equal(self._x, self._copy)

    def attended(self) -> None:
        """Call after each kept attention."""
        self.broken = self.broken or len(self.norms) < self._layers
        self._layers += 1

    def all_norms(self) -> Float[Tensor, "layer token"] | None:
        """Norms of x at the input of every block and, last, after the last one; None where not known."""
        if self.broken or self._x is None or len(self.norms) < self._layers:
            return None
        return torch.stack([*self.norms, _norms(self._x)])

    def _note_sum(self, a: Tensor, b: Tensor) -> None:
        first = self._x is None
        known = [x for x in (a, b) if (any(x is old() for old in self._older) if first else x is self._x)]
        if len(known) != 1:
            return
        self._adding = True
        self._note_operands(known[0], b if known[0] is a else a)

    def _note_operands(self, x: Tensor, branch: Tensor) -> None:
        """Called with both operands of each sum that makes a new x."""
        if len(self.norms) < self._layers:
            self.norms.append(_norms(x))

    def _is_token_tensor(self, x) -> bool:
        return isinstance(x, Tensor) and x.ndim == 3 and x.shape[0] == 1 and x.shape[1] == self.tokens


def _norms(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x[0].float(), dim=-1)
