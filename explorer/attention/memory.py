"""How much a forward pass keeps whose insides are asked for, and how much it may."""

from explorer.attention.recorded import RecordedPass
from explorer.errors import QueryError

MEMORY_BUDGET = 2 * 2**30  # bytes
KEPT_PER_TOKEN = 12  # float32 widths that a block keeps for its gradient: measured 11 (GELU MLP) to 13 (SwiGLU)
KEPT_BY_WATCH = 9  # widths a block without gradients: q, k, v, their mix, two sums, two branches, what enters


def kept_bytes(tokens: int, width: int, depth: int, widths: int = KEPT_PER_TOKEN) -> int:
    """About how many bytes the forward pass keeps, by default for the gradient: activations, no attention matrices."""
    return 4 * widths * tokens * width * depth


def check_memory(
    recording: RecordedPass, budget: int = MEMORY_BUDGET, widths: int = KEPT_PER_TOKEN, what: str = "A gradient"
) -> None:
    """Raise QueryError, with the largest size that fits, where a pass for `what` would keep more than `budget`."""
    model, (width, height) = recording.model, recording.image.size
    needed = kept_bytes(len(recording.tokens), model.width, model.depth, widths)
    if needed <= budget:
        return
    patches = budget // kept_bytes(1, model.width, model.depth, widths) - len(recording.prefix_tokens)
    short, long = sorted((width, height))
    sides = range(short // model.patch_size, 0, -1)
    fits = next((side for side in sides if side * max(side, round(side * long / short)) <= patches), 0)
    offer = f"record the image at size {fits * model.patch_size} or less" if fits else "use a smaller model"
    raise QueryError(
        f"{what} at {width}x{height} pixels needs about {needed / 2**30:.2g} GB, above the limit of "
        f"{budget / 2**30:.2g} GB: {offer}."
    )
