"""Whether a model folder holds what text prompts need, and which prompts it takes; quick, without any model."""

from collections.abc import Sequence
from pathlib import Path

from explorer.errors import CheckpointError, ModelError
from explorer.models.formats.config import read_config

FAMILIES = ("clip", "siglip")
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "spiece.model")
MOST_PROMPTS, LONGEST = 100, 1000  # prompts, and letters of one


def has_text_tower(folder: Path) -> bool:
    """Whether a folder holds a CLIP or SigLIP with a text half, by its settings, and the files of a tokenizer."""
    if not (folder / "config.json").is_file():
        return False
    try:
        settings = read_config(folder)
    except CheckpointError:
        return False
    whole = settings.get("model_type") in FAMILIES and "text_config" in settings
    return whole and any((folder / name).is_file() for name in TOKENIZER_FILES)


def checked_prompts(prompts: Sequence[str]) -> tuple[str, ...]:
    """The prompts without empty ones and repetitions; ModelError where they are too many or too long."""
    kept = tuple(dict.fromkeys(prompt.strip() for prompt in prompts if prompt.strip()))
    if len(kept) > MOST_PROMPTS or any(len(prompt) > LONGEST for prompt in kept):
        raise ModelError(f"Give {MOST_PROMPTS} text prompts at most, of up to {LONGEST:,} letters each.")
    return kept
