"""Limits of a map: how much memory a pass with gradients may keep, and how many passes it may take on a CPU."""

import re
from typing import Literal

from explorer.attention.recorded import RecordedPass
from explorer.errors import QueryError
from explorer.models.backbone import Model

MEMORY_BUDGET = 2 * 2**30  # bytes
MOST_WORK = 5e13  # tokens x parameters x passes on a CPU, estimated as a quarter of an hour on two cores
IN_A_BLOCK = re.compile(r"\.\d+\.")  # in a parameter's name
# float32 numbers that a block keeps for its gradient: widths of a token outside the MLP, and how often the MLP's
# hidden units, where an activation alone follows them, or a gate is multiplied with them (SwiGLU).
WIDTHS, PLAIN, GATED = 8, 1, 5


def kept_bytes(model: Model, tokens: int) -> int:
    """About how many bytes the forward pass keeps for the gradient: activations, no attention matrices."""
    hidden, gated = _hidden_units(model)
    return 4 * tokens * (WIDTHS * model.width * model.depth + (GATED if gated else PLAIN) * hidden)


def _hidden_units(model: Model) -> tuple[int, bool]:
    """Of the MLPs of all blocks together, and whether they are gated: then twice as many numbers enter as leave."""
    parameters = [(name, p.shape) for name, p in model.module.named_parameters() if p.ndim == 2]
    shapes = [shape for name, shape in parameters if IN_A_BLOCK.search(name) and shape[0] != shape[1]]
    leaving = sum(inputs for outputs, inputs in shapes if outputs == model.width)
    entering = sum(outputs for outputs, inputs in shapes if inputs == model.width and outputs != 3 * model.width)  # qkv
    return leaving, entering > 1.5 * leaving


def check_memory(recording: RecordedPass, budget: int = MEMORY_BUDGET, what: str = "A gradient") -> None:
    """Raise QueryError, with the largest size that fits, where a pass for `what` would keep more than `budget`."""
    model, (width, height) = recording.model, recording.image.size
    needed = kept_bytes(model, len(recording.tokens))
    if needed <= budget:
        return
    patches = budget // kept_bytes(model, 1) - len(recording.prefix_tokens)
    short, long = sorted((width, height))
    sides = range(short // model.patch_size, 0, -1)
    fits = next((side for side in sides if side * max(side, round(side * long / short)) <= patches), 0)
    offer = f"record the image at size {fits * model.patch_size} or less" if fits else "use a smaller model"
    raise QueryError(
        f"{what} at {width}x{height} pixels needs about {needed / 2**30:.2g} GB, above the limit of "
        f"{budget / 2**30:.2g} GB: {offer}."
    )


def check_work(recording: RecordedPass, passes: int, each: Literal["patches", "heads"]) -> None:
    """Raise QueryError, with a size that would do, where a pass for each patch or head would take too long on a CPU."""
    model = recording.model
    work = passes * len(recording.tokens) * model.num_parameters
    if model.device.type != "cpu" or work <= MOST_WORK:
        return
    root = 0.25 if each == "patches" else 0.5  # more pixels are more tokens, and more patches to leave out
    short = int(min(recording.grid) * (MOST_WORK / work) ** root)
    offer = f"record the image at size {short * model.patch_size} or less, or use a GPU" if short else "use a GPU"
    raise QueryError(f"{model.name} would run once for each of {passes:,} {each}, which takes too long here: {offer}.")
