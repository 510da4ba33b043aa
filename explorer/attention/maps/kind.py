"""One kind of map: a row of the table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from explorer.attention.maps.settings import Likeness, Setting, TargetClass
from explorer.errors import QueryError

if TYPE_CHECKING:  # at run time this module needs no torch: the command line reads it for --help
    import numpy as np
    from jaxtyping import Float

    from explorer.attention.recorded import RecordedPass

SettingT = TypeVar("SettingT", bound=Setting)
Progress = Callable[[int, int], None]  # how much is done, and how much there is; raise from it to stop
FEW = 6  # passes that a map takes which goes once through the model and back


class Account(Protocol):
    """A map that claims to add up, and a sentence where it doesn't, else ""."""

    @property
    def heatmap(self) -> 'Float[np.ndarray, "row col"]': ...

    @property
    def note(self) -> str: ...


@dataclass(frozen=True)
class Sweep:
    """A map shown layer after layer: `setting` runs through all layers, `caption` precedes each one's number."""

    setting: str
    caption: str
    help: str


@dataclass(frozen=True)
class MapKind:
    """A kind of map, made by compute(recording, **settings) -> (rows, cols) float32, or an Account that holds it.

    name: in code, links and on the command line; title: of its widgets; help: one sentence; heads: the same of every
    head of a layer, (recording, **settings but the head) -> (head, rows, cols), None where the map has no layers and
    heads; describe: (recording, **settings) -> what a figure's title calls it; sweep: how it is shown layer after
    layer, None where it can't be; live: whether the live canvas computes it in the browser; signed: whether values
    above 0 speak for what is explained and those below 0 against it, which a diverging colour map shows; passes:
    (recording, **settings) -> about how many forward passes it takes as long as; long: whether it takes so long that
    compute() has a keyword `progress`, called with how much is done and how much there is; layers: whether it looks
    into single layers, each of which must be one attention; stream: whether these must add to one residual stream.
    """

    name: str
    title: str
    help: str
    settings: tuple[Setting, ...]
    compute: "Callable[..., np.ndarray | Account]"
    heads: "Callable[..., np.ndarray] | None" = None
    describe: Callable[..., str] | None = None
    sweep: Sweep | None = None
    live: bool = False
    signed: bool = False
    passes: Callable[..., float] = lambda recording, **settings: FEW
    long: bool = False
    layers: bool = False
    stream: bool = False

    @property
    def has_layers_and_heads(self) -> bool:
        return self.heads is not None

    @property
    def defaults(self) -> dict[str, Any]:
        """Every setting's default by its name."""
        return {setting.name: setting.default for setting in self.settings}

    @property
    def missing_mean(self) -> dict[str, Any]:
        """What every setting means in a stored view, a link or a script that leaves it out."""
        return {setting.name: setting.missing_means for setting in self.settings}

    def needs(self, type_: type[SettingT]) -> SettingT | None:
        """The setting of that type: TargetClass for a class, Likeness for a second image, QueryToken; None: no need."""
        return next((setting for setting in self.settings if isinstance(setting, type_)), None)

    def fits(self, recording: "RecordedPass") -> bool:
        """Whether the map can be asked of it, by what is known of its classes and its layers."""
        explains = recording.logits is not None or not self.needs(TargetClass) or self.needs(Likeness) is not None
        follows = recording.model.parallel == 1 or not self.layers
        return explains and follows and (recording.norms is not None or not self.stream)

    def complete_settings(self, settings: Mapping[str, Any], recording: "RecordedPass | None" = None) -> dict[str, Any]:
        """All settings, defaults filled in; QueryError for an unknown one or a value out of its range.

        recording: also for a value that this recording can't take. Nothing is computed.
        """
        unknown = settings.keys() - self.defaults.keys()
        if unknown:
            known = ", ".join(self.defaults)
            raise QueryError(f"A map of kind {self.name} takes the settings {known}, not {', '.join(sorted(unknown))}.")
        full = self.defaults | dict(settings)
        for setting in self.settings:
            if recording is not None:  # first: it names what this recording has
                setting.check_for(full[setting.name], recording)
            setting.check(full[setting.name])
        return full

    def heading(self, recording: "RecordedPass", settings: Mapping[str, Any]) -> str:
        """What a figure's title calls the map."""
        return self.describe(recording, **settings) if self.describe else self.title.lower()
