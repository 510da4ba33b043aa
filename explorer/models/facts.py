"""What is known of a model without its weights."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from explorer.models.source import ModelSource

if TYPE_CHECKING:
    from explorer.models.preprocess import Fit

# How two kinds of notes begin, by which a page tells them from others.
HEADS_UNTOLD = "The file doesn't say how many heads"
LEFT_OUT = "Left out, because a backbone has no place for it"


@dataclass(frozen=True)
class ModelFacts:
    """A model as lists and widgets need it; torch is neither loaded nor asked for."""

    name: str
    source: ModelSource  # what load_model takes to load it
    patch_size: int
    depth: int
    num_heads: int
    prefix_tokens: tuple[str, ...]
    parameters: int
    input_size: int
    fixed_size: tuple[int, int] | None  # (height, width) of a model that takes only that
    own_fit: "Fit"
    notes: tuple[str, ...]  # what the loader assumed or left out, one sentence each
