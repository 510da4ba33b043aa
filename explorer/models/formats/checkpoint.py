"""A weights file as a timm module: read, find the backbone, turn its names, tell its architecture, fill it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timm.data import constants
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from explorer.errors import CheckpointError, UntoldError
from explorer.models.formats.architecture import Architecture, architecture_of
from explorer.models.formats.dialects import Tensors, plain
from explorer.models.formats.finding import Backbone, find_backbone
from explorer.models.formats.fitting import fill, fit, floats, left_out_note
from explorer.models.formats.reading import first_line, read_contents
from explorer.models.formats.recognition import recognise
from explorer.models.timm_models import create_empty, imagenet_names

HEADS_KEYS = ("num_heads", "num_attention_heads", "n_heads", "nhead")
# Tensors whose presence changes the arithmetic: a plain ViT without a place for them would be a wrong model.
ARITHMETIC = ("blocks.", "patch_embed.", "attn_pool.", "norm")


@dataclass(frozen=True)
class Checkpoint:
    """A weights file turned into a module, with sentences on what was assumed or left out."""

    module: nn.Module
    notes: tuple[str, ...]


def load_checkpoint(
    path: Path, arch: str | None = None, num_heads: int | None = None, grid: tuple[int, int] | None = None
) -> Checkpoint:
    """A weights file as a timm module, its architecture told from keys and shapes unless arch names it.

    Raises CheckpointError that names what is missing, misshapen, unsafe or unknown.
    """
    contents = read_contents(path)
    backbone = find_backbone(contents, path.name)
    tensors = floats(_convert(backbone, path.name))
    if not tensors:
        raise CheckpointError(
            f"{path.name} holds whole numbers only, as quantised weights do: give the file in floats."
        )
    if arch is None and not plain(tensors):
        arch = recognise(tensors, path.name)
    if arch is not None:
        return _load_named(arch, tensors, backbone, num_heads, grid, path.name)
    heads = num_heads or _heads_in_file(contents.settings)
    return _load_plain(tensors, backbone, heads, grid, path.name)


def _convert(backbone: Backbone, file: str) -> Tensors:
    """The tensors under timm's names."""
    try:
        return backbone.dialect.convert(backbone.tensors)
    except KeyError as error:
        raise CheckpointError(f"{file}: the tensor {error.args[0]} is missing beside the others.") from error
    except (RuntimeError, IndexError) as error:
        raise CheckpointError(f"{file}: shapes of its tensors disagree: {first_line(error)}.") from error


def _load_named(
    arch: str, tensors: Tensors, backbone: Backbone, num_heads: int | None, grid: tuple[int, int] | None, file: str
) -> Checkpoint:
    if ":" in arch:  # timm would look for these elsewhere, on the hub for one
        raise CheckpointError(f"{arch} is no architecture: give a timm name, such as vit_small_patch16_224.")
    settings: dict[str, Any] = {"num_heads": num_heads} if num_heads else {}
    patch = tensors.get("patch_embed.proj.weight")
    if grid and patch is not None:
        settings["img_size"] = (grid[0] * patch.shape[-2], grid[1] * patch.shape[-1])
    try:
        module = create_empty(arch, num_classes=len(tensors.get("head.weight", ())), **settings)
    except AssertionError as error:
        raise CheckpointError(f"{arch} can't have {num_heads} heads ({error}): give another number.") from error
    left_out = fill(module, tensors, file)
    return Checkpoint(module, (*_name_classes(module), *left_out_note([*left_out, *backbone.left_out])))


def _load_plain(
    tensors: Tensors, backbone: Backbone, num_heads: int | None, grid: tuple[int, int] | None, file: str
) -> Checkpoint:
    # DINOv2 is the one family of transformers whose LayerNorm epsilon is timm's; its layer scale gives it away.
    epsilon = None if "blocks.0.ls1.gamma" in tensors else backbone.dialect.epsilon
    architecture = architecture_of(tensors, num_heads, grid, epsilon)
    module = _build(architecture)
    kept, dropped = fit(tensors, module, file)
    strange = next((key for key in dropped if key.startswith(ARITHMETIC)), None)
    if strange:
        raise UntoldError(f"{file}: a plain Vision Transformer has no {strange}; name its timm architecture with arch.")
    module.load_state_dict(kept, assign=True)
    notes = (*architecture.assumed, _set_pixels(module, backbone), *_name_classes(module))
    return Checkpoint(module, (*notes, *left_out_note([*dropped, *backbone.left_out])))


def _build(architecture: Architecture) -> nn.Module:
    cls = VisionTransformerDistilled if architecture.distilled else VisionTransformer
    try:
        with torch.device("meta"):  # shapes only: random numbers would be thrown away at once
            module: Any = cls(**architecture.settings, weight_init="skip")
    except (RuntimeError, ValueError, AssertionError) as error:
        raise CheckpointError(f"The tensors describe no Vision Transformer: {first_line(error)}.") from error
    module.pretrained_cfg = {"input_size": (3, *architecture.settings["img_size"]), "interpolation": "bicubic"}
    return module


def _set_pixels(module: Any, backbone: Backbone) -> str:
    """Mean and standard deviation, which no state dict says, and the note that they are assumed."""
    mean, std, words = constants.IMAGENET_DEFAULT_MEAN, constants.IMAGENET_DEFAULT_STD, "ImageNet's mean and deviation"
    if backbone.dialect.name == "transformers" and backbone.prefix.endswith("vit."):
        mean, std, words = constants.IMAGENET_INCEPTION_MEAN, constants.IMAGENET_INCEPTION_STD, "0.5 and 0.5"
    module.pretrained_cfg |= {"mean": mean, "std": std}
    return f"The file doesn't say how pixels are normalised: {words} assumed."


def _name_classes(module: Any) -> tuple[str, ...]:
    """ImageNet's names for 1,000 classes, and the note that they are assumed."""
    names = imagenet_names("imagenet-1k", module.num_classes)
    if names is None or module.pretrained_cfg.get("label_names"):
        return ()
    module.pretrained_cfg["label_names"] = names
    return ("The file names no classes: its 1,000 are taken to be ImageNet's.",)


def _heads_in_file(settings: dict[str, Any]) -> int | None:
    """How many heads a file's own settings (hyper_parameters, args, config) say."""
    for key, value in settings.items():
        if key.rpartition(".")[2] in HEADS_KEYS and str(value).isdigit() and int(value) > 0:
            return int(value)
    return None
