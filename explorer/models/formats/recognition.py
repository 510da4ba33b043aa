"""State dicts of timm's other plain families (EVA, BEiT, rotary, relative positions), by comparing shapes."""

from functools import cache
from typing import Any

import timm
import torch

from explorer.errors import ModelError, UntoldError
from explorer.models.formats.dialects import Tensors, is_hybrid
from explorer.models.timm_models import create_timm

# timm's module for each telltale part of a key; a state dict with none of them may be of any.
FAMILIES = {
    ".relative_position_bias_table": ("beit",),
    ".rel_pos.": ("vision_transformer_relpos",),
    "embeds.proj.": ("naflexvit",),
    "patch_embed.backbone.": ("vision_transformer_hybrid",),
    ".attns.": ("vision_transformer",),
    ".in_proj.": ("vision_transformer",),
    "": ("eva", "deit", "beit", "vision_transformer"),
}
WIDTHS = {"tiny": 192, "small": 384, "base": 768, "large": 1024, "so400m": 1152, "huge": 1280}
# What depends on the task or served training alone, not on the family.
HEADS = ("head.", "head_dist.", "fc_norm.", "norm.", "mask_token", "local_cls_norm.")
COUNTER = "num_batches_tracked"  # of a batch norm, which files of floats lack
Shapes = frozenset[tuple[str, tuple[int, ...]]]


def recognise(tensors: Tensors, file: str) -> str:
    """The one timm architecture whose backbone has exactly these keys and shapes.

    Raises UntoldError that asks for arch where none or several have.
    """
    shapes = _backbone(tensors)
    outline = _outline(shapes)
    alike = [name for name in _architectures(tensors) if _outline(shapes_of(name, depth=1)) in (outline, frozenset())]
    found = [name for name in alike if shapes_of(name) == shapes]
    if len(found) == 1:
        return found[0]
    if found:
        raise UntoldError(f"{file} could be {', '.join(found[:6])}: say which with arch.")
    raise UntoldError(
        f"{file} isn't a plain Vision Transformer, and none of timm's other families has its tensors: name its timm "
        "architecture with arch."
    )


def _backbone(tensors: Tensors) -> Shapes:
    parts = {key: t for key, t in tensors.items() if not key.startswith(HEADS)}
    return frozenset((key, tuple(t.shape)) for key, t in parts.items() if not key.endswith(COUNTER))


def _architectures(tensors: Tensors) -> list[str]:
    """Names in the families that the keys point to; patch and size words in a name must agree with the file."""
    families = next(names for part, names in FAMILIES.items() if any(part in key for key in tensors))
    patch = tensors.get("patch_embed.proj.weight")
    names = [name for family in families for name in timm.list_models(module=family)]
    if patch is None:
        return names
    if is_hybrid(tensors):
        return names  # their names tell neither
    wrong_sizes = [f"_{word}_" for word, width in WIDTHS.items() if width != patch.shape[0]]
    return [
        name
        for name in names
        if ("_patch" not in name or f"_patch{patch.shape[-1]}_" in name)
        and not any(word in name for word in wrong_sizes)
    ]


def _outline(shapes: Shapes) -> Shapes:
    """Keys and shapes of one block, and the keys outside of all blocks: twenty times faster to compare than all."""
    first = {(key, shape) for key, shape in shapes if key.startswith("blocks.0.")}
    outside = {(key, ()) for key, _ in shapes if not key.startswith("blocks.")}  # rope.freqs grows with the depth
    return frozenset(first | outside)


@cache
def shapes_of(architecture: str, depth: int | None = None) -> Shapes:
    """Those of a timm architecture, whole or with so many blocks; empty where it can't be shown or built so."""
    settings: dict[str, Any] = {} if depth is None else {"depth": depth}
    try:
        with torch.device("meta"):  # shapes only: the largest of them have billions of weights
            return _backbone(create_timm(architecture, num_classes=0, **settings).state_dict())
    except (ModelError, AssertionError):  # can't be shown, or not with one block alone
        return frozenset()
