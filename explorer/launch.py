"""The processes of an `accelerate launch` or `torchrun`, or this one alone: which it is, and its device."""

import os
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

LONGEST_WAIT = timedelta(days=2)  # for the slowest process, or for one that stands in a queue


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

    def wait(self) -> None:
        """Until all have got here."""
        if self._accelerator is not None:
            self._accelerator.wait_for_everyone()


def processes() -> Processes:
    """From what the launch left in the environment."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return Processes()
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs

    accelerator = Accelerator(kwargs_handlers=[InitProcessGroupKwargs(timeout=LONGEST_WAIT)])
    return Processes(accelerator.process_index, accelerator.num_processes, str(accelerator.device), accelerator)
