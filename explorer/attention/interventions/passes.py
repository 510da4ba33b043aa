"""Where in a model's pass things happen: its function calls, numbered, and a mode that reports those that matter.

One pass of the image finds the places; a later one over the same input calls the same functions in the same order, so
that the number of a call is enough to know what it does there, whatever the model's code looks like.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import ref

import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.overrides import TorchFunctionMode

from explorer.attention.force_sdpa import visible_attention
from explorer.attention.recorded import RecordedPass
from explorer.attention.residual import ResidualStream
from explorer.attention.sdpa import arguments
from explorer.errors import QueryError, RecordingError


@dataclass(frozen=True)
class Sum:
    """One addition to the residual stream: its number among the pass's calls, and which operand is the new part."""

    number: int
    branch: int


@dataclass(frozen=True)
class Places:
    """Of one model's pass; empty where its layers don't add to one residual stream."""

    names: dict[int, str]  # of the functions at the numbers below
    entering: tuple[int, ...] = ()  # the call whose result enters each layer
    sums: tuple[tuple[Sum, ...], ...] = ()  # each layer's: the attention's, then the MLP's; one where they are one

    def check_stream(self, model_name: str, what: str) -> None:
        """Raise QueryError where no residual stream is known."""
        if not self.sums:
            raise QueryError(
                f"The layers of {model_name} don't add to one residual stream, so {what}: switch heads off, cut edges "
                "or drop patches instead."
            )


NO_PLACES = Places({})


class _NumberedStream(ResidualStream):
    """The residual stream, with the numbers of the calls that make it."""

    def __init__(self, tokens: int):
        super().__init__(tokens)
        self.number = 0
        self.first: int | None = None  # the call that made what enters layer 0
        self.sums: list[list[Sum]] = []
        self._made: list[tuple[ref[Tensor], int]] = []
        self._args: Any = ()

    def before(self, args: Any) -> None:
        self._args = args
        super().before(args)

    def after(self, out: Any) -> None:
        super().after(out)
        if not self._layers and self._is_token_tensor(out):
            self._made.append((ref(out), self.number))

    def attended(self) -> None:
        super().attended()
        self.sums.append([])

    def _note_operands(self, x: Tensor, branch: Tensor) -> None:
        if not self.sums[0]:
            self.first = next((number for made, number in reversed(self._made) if made() is x), None)
        super()._note_operands(x, branch)
        self.sums[-1].append(Sum(self.number, int(self._args[1] is branch)))


class _Scout(TorchFunctionMode):
    """Numbers the functions of a pass over one image."""

    def __init__(self, tokens: int):
        super().__init__()
        self.tokens = tokens
        self.stream = _NumberedStream(tokens)
        self.names: list[str] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        self.stream.number = len(self.names)
        self.names.append(func.__name__)
        followed = self.stream.follows(func)
        if followed:
            self.stream.before(args)
        out = func(*args, **kwargs)
        if followed:
            self.stream.after(out)
        if func is F.scaled_dot_product_attention and arguments(*args, **kwargs).is_over(self.tokens):
            self.stream.attended()
        return out

    def places(self) -> Places:
        stream = self.stream
        if stream.broken or stream.first is None or not all(stream.sums):
            return NO_PLACES
        entering = (stream.first, *(sums[-1].number for sums in stream.sums[:-1]))
        numbers = (*entering, *(one.number for sums in stream.sums for one in sums))
        return Places({n: self.names[n] for n in numbers}, entering, tuple(map(tuple, stream.sums)))


@torch.no_grad()
def find_places(recording: RecordedPass) -> Places:
    """Run the recording's image through its model once more, and note where its layers add to the residual stream."""
    recording.check_one_attention()
    scout, model = _Scout(len(recording.tokens)), recording.model
    pixels = model.pixels(recording.image)
    with visible_attention(model.module), scout:
        model.forward(pixels)
    return scout.places()


class Walk(TorchFunctionMode):
    """A pass that calls a method for each attention, each sum and each layer's input; editors override these."""

    def __init__(self, places: Places, tokens: int, patches: int):
        super().__init__()
        self.places, self.tokens, self.patches = places, tokens, patches
        self.names = dict(places.names)
        self.calls = self.layer = 0
        self._entering = {number: layer for layer, number in enumerate(places.entering)}
        self._sums = {
            one.number: (layer, part, one.branch)
            for layer, sums in enumerate(places.sums)
            for part, one in enumerate(sums)
        }

    def attend(
        self, layer: int | None, func: Callable, args: Any, kwargs: Any
    ) -> Float[Tensor, "image head query dim"]:
        """The attention of a layer, or with None that of a pooling over these tokens."""
        return func(*args, **kwargs)

    def add(
        self, layer: int, part: int, branch: Float[Tensor, "image token width"]
    ) -> Float[Tensor, "image token width"]:
        """What is added to the stream: part 0 is the attention's, all after it the MLP's."""
        return branch

    def enter(self, layer: int, x: Float[Tensor, "image token width"]) -> Float[Tensor, "image token width"]:
        """What enters a layer."""
        return x

    def made(self, number: int, out: Any) -> Any:
        """The result of any call."""
        return out

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        number, self.calls = self.calls, self.calls + 1
        if self.names.get(number, func.__name__) != func.__name__:
            raise RecordingError("The model took another way through its code than a moment ago: try again.")
        if func is F.scaled_dot_product_attention:
            return self.made(number, self._attend(func, args, kwargs))
        if number in self._sums:
            layer, part, at = self._sums[number]
            args = (*args[:at], self.add(layer, part, args[at]), *args[at + 1 :])
        out = func(*args, **kwargs)
        if number in self._entering:
            out = self.enter(self._entering[number], out)
        return self.made(number, out)

    def _attend(self, func: Callable, args: Any, kwargs: Any) -> Tensor:
        asked = arguments(*args, **kwargs)
        queries, keys = asked.shape[-2:]
        if len(asked.shape) != 4 or keys not in (self.tokens, self.patches):
            return func(*args, **kwargs)
        if queries != keys or keys != self.tokens:
            return self.attend(None, func, args, kwargs)
        layer, self.layer = self.layer, self.layer + 1
        return self.attend(layer, func, args, kwargs)


Part = tuple[str, int]  # ("heads" | "attention" | "mlp" | "entering", layer)
PARTS = ("attention", "mlp")


class _Keeper(Walk):
    """Keeps the parts of a pass that are asked for."""

    def __init__(self, places: Places, tokens: int, patches: int, wanted: set[Part]):
        super().__init__(places, tokens, patches)
        self.wanted = wanted
        self.parts: dict[Part, Tensor] = {}

    def _keep(self, part: Part, value: Tensor) -> None:
        if part in self.wanted:
            self.parts[part] = self.parts[part] + value[0] if part in self.parts else value[0].clone()

    def attend(self, layer: int | None, func: Callable, args: Any, kwargs: Any) -> Tensor:
        out = func(*args, **kwargs)
        if layer is not None:
            self._keep(("heads", layer), out)
        return out

    def add(self, layer: int, part: int, branch: Tensor) -> Tensor:
        self._keep((PARTS[min(part, 1)], layer), branch)
        return branch

    def enter(self, layer: int, x: Tensor) -> Tensor:
        self._keep(("entering", layer), x)
        return x


@torch.no_grad()
def mean_parts(
    recording: RecordedPass, places: Places, photos: Sequence[Image.Image], wanted: set[Part]
) -> dict[Part, Tensor]:
    """The mean of each wanted part over photos that were fitted to the model, token by token; all of one grid."""
    model, (rows, cols) = recording.model, recording.grid
    total: dict[Part, Tensor] = {}
    for photo in photos:
        if model.grid(photo.height, photo.width) != recording.grid:
            raise QueryError(
                f"A photo of {photo.width}x{photo.height} pixels has other patches than the recording's {rows} rows "
                f"and {cols} columns: fit all photos by crop or squash at one size."
            )
        keeper = _Keeper(places, len(recording.tokens), rows * cols, wanted)
        pixels = model.pixels(photo)
        with visible_attention(model.module), keeper:
            model.forward(pixels)
        total = {part: total[part] + value if total else value for part, value in keeper.parts.items()}
    return {part: value / len(photos) for part, value in total.items()}
