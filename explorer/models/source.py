"""Which model: the source that load_model takes, with what a bare weights file can't tell of itself."""

from dataclasses import dataclass


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
