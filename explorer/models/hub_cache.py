"""What the model hub's cache on this computer holds."""

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import constants

from explorer.errors import ModelError

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")


def cached_weights(repo_id: str, names: Sequence[str] = WEIGHTS) -> Path | None:
    """The weights file of a repository in the local cache, None where there is none; no network."""
    if not Path(constants.HF_HUB_CACHE, f"models--{repo_id.replace('/', '--')}").is_dir():
        return None  # as nearly always: the hub's client, which takes a while to import, isn't asked
    from huggingface_hub import errors, try_to_load_from_cache

    for name in names:
        try:
            path = try_to_load_from_cache(repo_id, name)
        except errors.HFValidationError as error:
            raise ModelError(f"{repo_id!r} isn't a model id: expected organisation/name.") from error
        if isinstance(path, str):
            return Path(path)
    return None
