"""How many passes may be asked for at once on a CPU."""

from typing import Literal

from explorer.attention.recorded import RecordedPass
from explorer.errors import QueryError

MOST_WORK = 5e13  # tokens x parameters x passes on a CPU, estimated as a quarter of an hour on two cores


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
