"""Which tokens a model puts before its patches, and their grid: read from the model, never guessed silently."""

import re
from collections.abc import Sequence

from torch import Tensor, nn

from explorer.errors import ModelError, UnsupportedModelError

# Parameters that become prefix tokens, in the order in which every known family concatenates them.
PREFIX_PARAMETERS = {
    "cls_token": "cls",
    "class_embedding": "cls",
    "dist_token": "dist",
    "distillation_token": "dist",
    "reg_token": "reg",
    "register_tokens": "reg",
}


def prefix_tokens(embeddings: nn.Module, count: int | None = None) -> tuple[str, ...]:
    """("cls", "dist", "reg1", ...) from the parameters of the module that puts tokens together.

    count: how many the library itself says there are; a mismatch is a ModelError that asks for the names.
    """
    names: list[str] = []
    for parameter, name in PREFIX_PARAMETERS.items():
        token = getattr(embeddings, parameter, None)
        if not isinstance(token, Tensor):
            continue
        tokens = token.shape[-2] if token.ndim > 1 else 1
        names += [f"reg{i + 1}" for i in range(tokens)] if name == "reg" else _number_names(name, tokens)
    if count is not None and len(names) != count:
        raise ModelError(
            f"The model puts {count} tokens before its patches, but {_names_in_words(names)}: "
            f"name all {count} with prefix_tokens=(...)."
        )
    return tuple(names)


def _number_names(name: str, tokens: int) -> list[str]:
    """["cls"], or ["cls", "cls2", ...] for the few models with more than one."""
    return [name if i == 0 else f"{name}{i + 1}" for i in range(tokens)]


def read_grid(grid: tuple[int, int] | str | None) -> tuple[int, int] | None:
    """(rows, cols) of a grid given so or as "ROWSxCOLS"; ModelError for anything else."""
    parts = re.split(r"[x×,]", grid.strip()) if isinstance(grid, str) else grid
    if not parts:
        return None
    try:
        rows, cols = (int(part) for part in parts)
    except (TypeError, ValueError) as error:
        raise ModelError(f"A grid is ROWSxCOLS, such as 6x10, not {grid!r}.") from error
    if rows < 1 or cols < 1:
        raise ModelError(f"A grid has at least 1 row and 1 column, not {rows}x{cols}.")
    return rows, cols


def patch_side(patch_size: int | tuple[int, ...]) -> int:
    """The side in pixels of a square patch; other patches are refused."""
    sides = {patch_size} if isinstance(patch_size, int) else set(patch_size)
    if len(sides) != 1:
        raise UnsupportedModelError(f"Patches of {'x'.join(map(str, sides))} pixels aren't square: pick another model.")
    return int(sides.pop())


def check_tokens(tokens: int, prefix: tuple[str, ...], grid: tuple[int, int]) -> None:
    """Raise ModelError where prefix tokens + rows x cols don't add up to what the model computed."""
    rows, cols = grid
    if tokens == len(prefix) + rows * cols:
        return
    extra = tokens - rows * cols
    if extra < 0:
        raise ModelError(
            f"The model gave {tokens} tokens for {rows} x {cols} patches: they aren't one token each at the end, "
            "so they can't be shown. Pick a variant without pooling."
        )
    raise ModelError(
        f"The model gave {tokens} tokens for {rows} x {cols} patches, with {extra} before them, but "
        f"{_names_in_words(prefix)}: name all {extra} with prefix_tokens=(...)."
    )


def _names_in_words(names: Sequence[str]) -> str:
    return f"{len(names)} known ({', '.join(names)})" if names else "none known"
