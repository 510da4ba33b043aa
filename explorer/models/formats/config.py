"""What a model's folder says of itself in JSON; no torch, whose import takes seconds that lists can do without."""

import json
from pathlib import Path
from typing import Any

from explorer.errors import CheckpointError
from explorer.models.formats.foreign import DISTRIBUTED, JOIN
from explorer.words import size_in_words

ADAPTER = "adapter_config.json"  # what peft writes beside an adapter's weights
MAX_JSON = 32 * 2**20  # bytes; the index of the largest sharded models has 1 MB
# What trainers write beside the weights, under the same endings.
NO_WEIGHTS = ("optimizer", "scheduler", "scaler", "rng_state", "training_args", "random_states", "adapter_model")
WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar")


def read_config(folder: Path, name: str | None = None) -> dict[str, Any]:
    """config.json of a folder; CheckpointError where it is missing, unreadable, or beside it lies an adapter only.

    name: what errors call the folder; by default its own.
    """
    file, name = folder / "config.json", name or folder.name
    if not file.is_file():
        adapter = folder / ADAPTER
        if adapter.is_file():
            raise CheckpointError(_adapter_alone(name, read_json(adapter, name)))
        raise CheckpointError(_no_config(folder, name))
    return read_json(file, name)


def _no_config(folder: Path, name: str) -> str:
    """What may be opened in place of a folder without config.json: a model in it, or weights that accelerate left."""
    try:
        models = sorted(path.parent.name for path in folder.glob("*/config.json"))
        files = sorted(path.name for path in folder.iterdir() if path.suffix in (*WEIGHT_SUFFIXES, DISTRIBUTED))
    except OSError:
        models, files = [], []
    if any(file.endswith(DISTRIBUTED) for file in files):
        return f"The folder {name} is a distributed checkpoint: {JOIN}."
    weights = [file for file in files if not file.startswith(NO_WEIGHTS)]
    instead = "give one saved by timm or transformers"
    if models:
        instead = f"give one of the models in it, {', '.join(models[:3])}{' …' if len(models) > 3 else ''}"
    elif weights:
        instead = f"give its weights file, {weights[0]}, or a folder saved by timm or transformers"
    return f"The folder {name} has no config.json: {instead}."


def _adapter_alone(name: str, settings: dict[str, Any]) -> str:
    base = settings.get("base_model_name_or_path")
    kind = settings.get("peft_type")
    return (
        f"The folder {name} holds {'a ' + kind if isinstance(kind, str) else 'an'} adapter without its model: "
        f"merge it into {base if isinstance(base, str) and base else 'its base model'} with peft's merge_and_unload() "
        "and save that."
    )


def read_json(file: Path, folder: str) -> dict[str, Any]:
    """The settings in a JSON file; CheckpointError where they are unreadable, too large or nested too deeply.

    folder: what errors call the folder that it lies in.
    """
    where = f"{file.name} in {folder}"
    try:
        size = file.stat().st_size
        if size > MAX_JSON:
            raise CheckpointError(f"{where} has {size_in_words(size)}, settings have a few kB: save the model again.")
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{where} isn't readable JSON: save the model again.") from error
    except OSError as error:
        raise CheckpointError(f"{where} can't be read ({error.strerror}): save the model again.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{where} holds no settings: save the model again.")
    return content
