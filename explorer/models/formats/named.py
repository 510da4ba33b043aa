"""A weights file for a timm module that is already known: by the name the caller gave, or from a folder's config."""

import sys
from pathlib import Path

from torch import nn

from explorer.errors import CheckpointError
from explorer.models.formats import Checkpoint, find_backbone, fit, floats, left_out_note
from explorer.models.formats.dialects import Tensors
from explorer.models.formats.reading import read_contents
from explorer.models.timm_models import create_empty


def load_as(path: Path, arch: str) -> Checkpoint:
    """The file's weights in timm's model of that id; CheckpointError names a missing or misshapen tensor."""
    backbone = find_backbone(read_contents(path), path.name)
    tensors = floats(backbone.dialect.convert(backbone.tensors))
    classes = tensors["head.weight"].shape[0] if "head.weight" in tensors else 0
    module = create_empty(arch, num_classes=classes)
    left_out = fill(module, tensors, path.name)
    return Checkpoint(module, left_out_note([*left_out, *backbone.left_out]))


def fill(module: nn.Module, tensors: Tensors, file: str) -> list[str]:
    """Load tensors into a timm module, converted by timm where its keys differ; the keys left out."""
    if not tensors.keys() >= module.state_dict().keys():
        tensors = _converted(tensors, module, file)
    kept, left_out = fit(tensors, module, file)
    module.load_state_dict(kept, assign=True)
    return left_out


def _converted(tensors: Tensors, module: nn.Module, file: str) -> Tensors:
    """timm's own conversion of the original authors' keys, where the family has one."""
    convert = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return tensors
    try:
        return convert(dict(tensors), module)
    except (KeyError, RuntimeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{file} doesn't fit {type(module).__name__} of timm: {error}.") from error
