"""Which model: the source that load_model takes, with what a bare weights file can't tell of itself."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ModelSource:
    """Everything that names one model, as settings, links, runs and checkpoints keep it.

    source: a registry key, "timm:<id>", "hf:<org/name>", a weights file or a folder. arch (a timm name), num_heads and
    grid ("ROWSxCOLS" of the position embeddings): only for weights files that can't tell.
    """

    source: str
    arch: str | None = None
    num_heads: int | None = None
    grid: str | None = None

    @staticmethod
    def of(
        source: "str | Path | ModelSource",
        arch: str | None = None,
        num_heads: int | None = None,
        grid: tuple[int, int] | str | None = None,
    ) -> "ModelSource":
        """A ModelSource as it is; anything else with the three settings beside it."""
        if isinstance(source, ModelSource):
            return source
        return ModelSource(str(source), arch, num_heads, "x".join(map(str, grid)) if isinstance(grid, tuple) else grid)


@dataclass(frozen=True)
class TrainedFrom:
    """What a checkpoint was trained from: its base model, and the names of the data and of the run."""

    model: ModelSource
    data: str
    run: str
