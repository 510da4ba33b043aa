"""The maps that a bench compares: rows of the table of map kinds with their settings, and two controls."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from explorer.attention.evidence import centre_prior
from explorer.attention.maps.kind import MapKind
from explorer.attention.maps.settings import Likeness, TargetClass
from explorer.attention.maps.table import MAP_KINDS, map_kind
from explorer.attention.recording import Recording
from explorer.errors import QueryError

ALL = "all"


@dataclass(frozen=True)
class Contender:
    """A map that takes part; `name` is how the command line asks for it: "rollout:discard_ratio=0.9"."""

    name: str
    row: MapKind
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def draw(self, recording: Recording, target: int | None, seed: int) -> Float[np.ndarray, "row col"]:
        """The map of a class, where its kind explains one."""
        return recording.map_with_note(self.row.name, **self._settings(target))[0]

    def passes(self, recording: Recording) -> float:
        """About how many forward passes drawing it takes as long as."""
        return self.row.passes(recording, **self.row.complete_settings(self.settings))

    @property
    def takes_long(self) -> bool:
        return self.row.long

    def _settings(self, target: int | None) -> dict[str, Any]:
        explained = self.row.needs(TargetClass)
        return {**self.settings, explained.name: target} if explained else dict(self.settings)


@dataclass(frozen=True)
class Control:
    """A map that knows neither model nor class: what any map must beat."""

    name: str
    make: Callable[[tuple[int, int], int], np.ndarray]

    def draw(self, recording: Recording, target: int | None, seed: int) -> Float[np.ndarray, "row col"]:
        return self.make(recording.grid, seed).astype(np.float32)

    def passes(self, recording: Recording) -> float:
        return 0

    @property
    def takes_long(self) -> bool:
        return False


CONTROLS = (
    Control("centre", lambda grid, seed: centre_prior(grid)),
    Control("random", lambda grid, seed: np.random.default_rng(seed).random(grid)),
)
Entrant = Contender | Control


def entrants(names: Sequence[str], without: Iterable[str] = ()) -> tuple[Entrant, ...]:
    """The maps of these names and the controls, each once; "all" is every kind with its defaults.

    A name is a kind's, with any settings: "attention:layer=9:head=max". without: kinds that "all" leaves out. Raises
    QueryError for an unknown kind or setting, and for one that says what is explained, which is the predicted class.
    """
    left_out = {map_kind(kind).name for kind in without}
    if both := sorted(left_out & {name.partition(":")[0] for name in names}):
        raise QueryError(f"{both[0]} is both named and left out: decide for one.")
    every = [kind for kind in MAP_KINDS if kind not in left_out]
    asked = [name for given in names for name in (every if given == ALL else [given])]
    found = {each.name: each for each in map(contender, asked)}
    if not found:
        raise QueryError("No map is left to compare: give at least one.")
    return *found.values(), *CONTROLS


def contender(name: str) -> Contender:
    """The map of that name, its settings read and checked."""
    kind, *given = name.split(":")
    row, settings = map_kind(kind), {}
    known = {key: setting for setting in row.settings for key in (setting.name, setting.key)}
    for part in given:
        key, equals, text = part.partition("=")
        setting = known.get(key.replace("-", "_"))
        if setting is None or not equals or isinstance(setting, TargetClass | Likeness):
            free = [s.name for s in row.settings if not isinstance(s, TargetClass | Likeness)]
            raise QueryError(
                f"{part!r} isn't a setting of {row.name} in a bench: write {row.name}:NAME=VALUE with "
                f"{', '.join(free) or 'no settings'}; what is explained is the class that the model predicts."
            )
        settings[setting.name] = setting.parse(text)
    row.complete_settings(settings)
    return Contender(":".join([row.name, *given]), row, settings)
