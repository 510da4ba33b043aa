"""The processes of an `accelerate launch`, or this one alone: which it is, its device, and what all of them found."""

import os
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

LONGEST_WAIT = timedelta(days=2)  # for the slowest process


@dataclass(frozen=True)
class Processes:
    """index: of this one; count: of all; device: what load_model takes."""

    index: int = 0
    count: int = 1
    device: str = "auto"
    _accelerator: Any = field(default=None, repr=False)

    @property
    def is_main(self) -> bool:
        return self.index == 0

    def gather(self, values: list[Any]) -> list[Any]:
        """The values of all processes one after another, in each of them; waits until all have got there."""
        if self._accelerator is None:
            return values
        from accelerate.utils import gather_object

        return gather_object(values)


def processes() -> Processes:
    """From what the launch left in the environment."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return Processes()
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs

    accelerator = Accelerator(kwargs_handlers=[InitProcessGroupKwargs(timeout=LONGEST_WAIT)])
    return Processes(accelerator.process_index, accelerator.num_processes, str(accelerator.device), accelerator)
