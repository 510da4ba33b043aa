"""Which model: the source that load_model takes, with what a bare weights file can't tell of itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ModelSource:
    """Everything that names one model, as settings, links, runs and checkpoints keep it.

    source: a registry key, "timm:<id>", "hf:<org/name>", a weights file or a folder. arch (a timm name), num_heads and
    grid ("ROWSxCOLS" of the position embeddings): only for weights files that can't tell. prompts: texts that are the
    classes of a CLIP or SigLIP.
    """

    source: str
    arch: str | None = None
    num_heads: int | None = None
    grid: str | None = None
    prompts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        prompts = (self.prompts,) if isinstance(self.prompts, str) else tuple(self.prompts)  # a file holds a list
        object.__setattr__(self, "prompts", prompts)

    @staticmethod
    def of(
        source: "str | Path | ModelSource",
        arch: str | None = None,
        num_heads: int | None = None,
        grid: tuple[int, int] | str | None = None,
        prompts: Sequence[str] = (),
    ) -> "ModelSource":
        """A ModelSource as it is; anything else with the settings beside it."""
        if isinstance(source, ModelSource):
            return source
        text = "x".join(map(str, grid)) if isinstance(grid, tuple) else grid
        return ModelSource(str(source), arch, num_heads, text, prompts)  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True)
class TrainedFrom:
    """What a checkpoint was trained from: its base model, and the names of the data and of the run."""

    model: ModelSource
    data: str
    run: str
