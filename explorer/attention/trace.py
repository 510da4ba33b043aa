"""One forward pass with gradients, and what the rules of attribution need of it: the stream, attention, the tail."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.overrides import TorchFunctionMode

from explorer.attention.balanced import BalancedMode, Completeness, tensors_in
from explorer.attention.force_sdpa import visible_attention
from explorer.attention.limits import MEMORY_BUDGET, check_memory
from explorer.attention.recorded import RecordedPass
from explorer.attention.recorder import Call
from explorer.attention.residual import ResidualStream
from explorer.attention.scores import Score
from explorer.attention.sdpa import Arguments, arguments
from explorer.errors import QueryError, RecordingError


class Tail:
    """The functions of a pass in their order, from the last attention on: run again, they show what others give."""

    def __init__(self):
        self._steps: list[tuple[Callable, Any, Any, Any]] = []  # function, arguments, keywords, result

    def add(self, func: Callable, args: Any, kwargs: Any, out: Any) -> None:
        if any(True for _ in tensors_in(out)):
            self._steps.append((func, args, kwargs, out))

    def place(self, tensor: Tensor) -> int | None:
        """After how many functions the tensor was there; None where none of them made it."""
        return next((i + 1 for i, step in enumerate(self._steps) if step[3] is tensor), None)

    def made(self, place: int) -> Tensor:
        """The tensor after that many functions, as place() counts them."""
        return self._steps[place - 1][3]

    def run(self, old: Tensor, new: Tensor, *wanted: Tensor | None) -> list[Any]:
        """What stands for the wanted tensors where `new` stands for `old`, of the same shape."""
        stand_ins = {id(old): new}
        for func, args, kwargs, out in self._steps[self.place(old) or 0 :]:
            if any(id(tensor) in stand_ins for tensor in tensors_in((args, kwargs))):
                again = func(*_replace(args, stand_ins), **_replace(kwargs, stand_ins))
                stand_ins.update((id(a), b) for a, b in zip(tensors_in(out), tensors_in(again), strict=True))
        return [stand_ins.get(id(tensor), tensor) for tensor in wanted]


def _replace(values: Any, stand_ins: dict[int, Tensor]) -> Any:
    if isinstance(values, Tensor):
        return stand_ins.get(id(values), values)
    if type(values) in (list, tuple):
        return type(values)(_replace(value, stand_ins) for value in values)
    return {k: _replace(v, stand_ins) for k, v in values.items()} if isinstance(values, dict) else values


class KeptStream(ResidualStream):
    """The residual stream with all its sums: (layer, x before, what is added)."""

    def __init__(self, tokens: int):
        super().__init__(tokens)
        self.sums: list[tuple[int, Tensor, Tensor]] = []

    def _note_operands(self, x: Tensor, branch: Tensor) -> None:
        super()._note_operands(x, branch)
        self.sums.append((self._layers - 1, x, branch))

    @property
    def last(self) -> Float[Tensor, "1 token width"] | None:
        """x after the last block."""
        return None if self.broken else self._x


@dataclass(frozen=True, eq=False)
class Attended:
    """One attention call: its pattern, its values and its result "1 head query dim", which the gradient reaches."""

    call: Call  # of q and k, as a recording keeps them
    v: Tensor  # "head token dim"
    out: Tensor
    given: Tensor  # v as the call got it, "1 head token dim", where groups of heads may share one


class Watch(TorchFunctionMode):
    """Keeps a pass's residual stream, its attention calls, what enters them and what follows the last one."""

    def __init__(self, tokens: int, patches: int, depth: int, parallel: int = 1):
        """parallel: attentions side by side in each layer."""
        super().__init__()
        self.tokens, self.patches, self.parallel, self.count = tokens, patches, parallel, depth * parallel
        self.stream = KeptStream(tokens)
        self.attention: list[Attended] = []  # one per layer, or as many as it has side by side
        self.pooling: list[Attended] = []  # calls from other tokens, to these or to the patches alone
        self.entering: list[Tensor] = []  # "1 token width": what each layer's q, k and v are made of
        self.tail = Tail()
        self._calls = 0
        self._made: list[tuple[int, str, Tensor]] = []  # number, name and result of the calls in the tail
        self._read: Tensor | None = None  # the tokens that the last linear layer took

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        followed = self.stream.follows(func)
        if followed:
            self.stream.before(args)
        out = func(*args, **kwargs)
        if followed:
            self.stream.after(out)
        if func is F.scaled_dot_product_attention:
            self._attend(out, arguments(*args, **kwargs))
        elif func is F.linear and self._is_tokens(out):
            self._read = args[0] if args else kwargs["input"]
        if len(self.attention) == self.count:
            self.tail.add(func, args, kwargs, out)
            if isinstance(out, Tensor):
                self._made.append((self._calls, func.__name__, out))
        self._calls += 1
        return out

    def maker_of(self, tensor: Tensor) -> tuple[int, str] | None:
        """Which of the pass's calls, counted from 0, made the tensor, and its name; None before the last attention."""
        return next(((number, name) for number, name, made in self._made if made is tensor), None)

    def _is_tokens(self, out: Any) -> bool:
        return isinstance(out, Tensor) and out.ndim == 3 and out.shape[:2] == (1, self.tokens)

    def _attend(self, out: Tensor, asked: Arguments) -> None:
        if asked.q.shape[0] != 1 or asked.k.shape[-2] not in (self.tokens, self.patches):
            return
        q, k, v = (t.detach()[0] for t in asked.each_head())
        attended = Attended(Call(q, k, asked.scale, asked.bias()), v, out, asked.v)
        if not asked.is_over(self.tokens):
            self.pooling.append(attended)
            return
        if len(self.attention) % self.parallel == 0:  # the first of those side by side
            if self._read is not None:
                self.entering.append(self._read)
            self.stream.attended()
        self.attention.append(attended)


@dataclass(frozen=True, eq=False)
class Pass:
    """One forward pass of a recording's image, run again and watched."""

    recording: RecordedPass
    watch: Watch
    tokens: Tensor  # "1 token width" after the last norm
    logits: Tensor | None

    @property
    def stream(self) -> list[Float[Tensor, "1 token width"]]:
        """x as it enters each layer, and after the last one. Raises QueryError where there's no one x."""
        entering = {}
        for layer, x, _ in self.watch.stream.sums:
            entering.setdefault(layer, x)
        last = self.watch.stream.last
        if last is None or len(entering) < self.recording.depth:
            raise QueryError(
                f"The layers of {self.recording.model_name} don't add to one residual stream, so the share of each "
                "isn't known: ask for attention, rollout or relevance."
            )
        return [*entering.values(), last]

    def branches(self, layer: int) -> list[Float[Tensor, "1 token width"]]:
        """What a layer adds to the stream, its attention first."""
        return [branch for made, _, branch in self.watch.stream.sums if made == layer]


@dataclass(frozen=True, eq=False)
class Trace(Pass):
    """One forward pass with gradients, up to a score."""

    pixels: Tensor  # "1 3 height width"
    score: Tensor
    balanced: BalancedMode | None = None

    def gradients(self, tensors: list[Tensor], keep: bool = False) -> list[Tensor]:
        """Of the score, for each tensor; zeros where it depends on none. keep: another backward pass will follow."""
        if self.balanced:
            self.balanced.biases()  # forgets those of the pass before
        return list(torch.autograd.grad(self.score, tensors, retain_graph=keep, materialize_grads=True))

    def completeness(self, x: Float[Tensor, "*shape"], gradient: Float[Tensor, "*shape"]) -> Completeness:
        """How closely x * gradient and the constants after x add up to the score; call it after that backward pass."""
        assert self.balanced is not None
        attributions = float((x.detach() * gradient).sum())
        return Completeness(float(self.score.detach()), attributions, self.balanced.biases(after=x))


@contextmanager
def open_trace(
    recording: RecordedPass,
    score: Score,
    balanced: bool = True,
    budget: int = MEMORY_BUDGET,
    attend: TorchFunctionMode | None = None,
    layers: bool = True,
) -> Iterator[Trace]:
    """Run the recording's image through its model again for gradients, which are asked for inside the block.

    balanced: the backward pass is the balanced one; attend: a mode that takes the place of attention; layers: whether
    anything of single layers will be asked. The model's parameters get no gradients. Raises QueryError where the pass
    would keep more than `budget` bytes, and where layers are asked of a model with attentions side by side.
    """
    check_memory(recording, budget)
    rules = BalancedMode(recording.model_name) if balanced else None
    with torch.inference_mode(False), torch.enable_grad():
        pixels = recording.model.pixels(recording.image).requires_grad_()
        with rules or nullcontext(), attend or nullcontext():
            watch, tokens, logits = _run(recording, pixels, layers)
        with rules or nullcontext():
            number = score(tokens, logits)
        yield Trace(recording, watch, tokens, logits, pixels, number, rules)


def look_inside(recording: RecordedPass) -> Pass:
    """Run the recording's image through its model again, without gradients, and keep what enters and leaves its layers.

    Raises QueryError where that would take more than MEMORY_BUDGET bytes.
    """
    check_memory(recording, MEMORY_BUDGET, "A look inside all layers")  # a gradient keeps a little more
    with torch.no_grad():
        return Pass(recording, *_run(recording, recording.model.pixels(recording.image)))


def _run(recording: RecordedPass, pixels: Tensor, layers: bool = True) -> tuple[Watch, Tensor, Tensor | None]:
    model, (rows, cols) = recording.model, recording.grid
    if layers:
        recording.check_one_attention()
    watch = Watch(len(recording.tokens), rows * cols, recording.depth, model.parallel)
    with visible_attention(model.module), watch:
        tokens, logits = model.forward(pixels)
    if len(watch.attention) != watch.count:
        raise RecordingError(
            f"{model.name} made {len(watch.attention)} attention calls where {watch.count} were recorded."
        )
    return watch, tokens, logits
