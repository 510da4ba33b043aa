"""Objects of other libraries that training files hold beside the weights: passed over, nothing of them is imported.

Trainers put numbers of NumPy, paths and settings of OmegaConf, Lightning or MMEngine into their files. In a pickle each
is the name of a class or function. The names of HARMLESS libraries stand here for classes that take anything and do
nothing; every other name is refused by torch.
"""

import re
from collections import OrderedDict
from typing import Any

MOST = 40  # such names in one file
HARMLESS = re.compile(
    r"(numpy|pathlib|omegaconf|yacs|fvcore|easydict|addict|ml_collections|mmengine|mmcv|mmcls|mmpretrain|lightning|"
    r"lightning_fabric|lightning_utilities|pytorch_lightning|torchmetrics|datetime|typing|peft|hydra|sklearn|pandas|"
    r"torch\.optim|torchvision\.transforms|timm\.(data|loss|optim|scheduler)|albumentations)(\.\w+)+|"
    r"transformers\.(?!.*\.modeling_)\w+(\.\w+)+|torch\.nn\.modules\.loss\.\w+|functools\.partial|"
    r"collections\.defaultdict|torch\.torch_version\.TorchVersion|"
    r"builtins\.(dict|list|tuple|int|float|str|bool|getattr)"
)
DICTIONARIES = re.compile(r".*\.(defaultdict|EasyDict|CfgNode|AttributeDict|ConfigDict|Dict)")
NAMED = re.compile(r"Unsupported (?:global: GLOBAL|class) ([\w.]+)")


class StandIn:
    """In the place of an object of another library; value: what one of OmegaConf's holds, None of others."""

    value: Any = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.value = state.get("_content", state.get("_val"))


class StandInDictionary:
    """In the place of a class of dictionaries: an ordinary one, which the unpickler fills."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return OrderedDict()


def stand_in(error: Exception, known: dict[str, Any]) -> tuple[str, Any] | None:
    """(name, what stands in its place) of what torch refused to import; None where that isn't known to be harmless.

    known: those that the file has asked for so far.
    """
    match = NAMED.search(str(error))
    name = match[1] if match else ""
    name = name if "." in name else f"builtins.{name}"  # torch leaves that out
    if name in known or len(known) > MOST or not HARMLESS.fullmatch(name):
        return None
    return name, StandInDictionary if DICTIONARIES.fullmatch(name) else StandIn
