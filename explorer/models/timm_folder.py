"""A folder in timm's hub format, or of transformers' TimmWrapper, as a timm module."""

import re
from pathlib import Path
from typing import Any

from timm.models import get_arch_name, get_pretrained_cfg, is_model
from torch import nn

from explorer.errors import CheckpointError
from explorer.models.formats.additions import check_left_out, check_quantised, merge_adapters
from explorer.models.formats.channels import IMAGENET_COLOURS, grey_values, rgb_kernel, rgb_values
from explorer.models.formats.config import read_config
from explorer.models.formats.dialects import Tensors, is_hybrid
from explorer.models.formats.fitting import fill, floats, interpolation_note, left_out_note
from explorer.models.formats.heads import Head, read_head
from explorer.models.formats.labels import name_classes
from explorer.models.formats.reading import first_line, read_model_folder
from explorer.models.limits import check_numbers
from explorer.models.timm_models import create_empty

# What create_model would read from elsewhere: a folder's config has no say in it.
FOREIGN_ARGUMENTS = ("pretrained", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")
OLD_SETTINGS = (
    "input_size",
    "fixed_input_size",
    "interpolation",
    "mean",
    "std",
    "num_classes",
    "classifier",
    "first_conv",
)
KERNEL = "patch_embed.proj.weight"
FOLDER_REMEDY = (
    "its config.json must name the option that needs it in model_args (init_values, qk_norm …), as timm's save_for_hf "
    "writes it"
)


def load_timm_folder(folder: Path, name: str | None = None) -> tuple[nn.Module, tuple[str, ...]]:
    """The module of a folder that timm's save_for_hf or transformers' TimmWrapper wrote, and notes on its tensors.

    Raises CheckpointError for settings that describe no model, and where tensors that its architecture, with these
    settings, has no place for would change what it computes. name: what errors call the folder; by default its own.
    """
    name = name or folder.name
    config = read_config(folder, name)
    _check_config(config, name)
    settings = _folder_settings(config)
    module = _empty_of(config, settings, name)
    stored, adapter = read_model_folder(folder, name)
    named = {key.removeprefix("timm_model."): tensor for key, tensor in stored.items()}  # TimmWrapper's own prefix
    own, merged = merge_adapters(named, adapter, name)
    check_quantised(own, name)
    other_head = "head.weight" in module.state_dict() and "head.weight" not in own  # one that somebody put there
    head = read_head(floats(own), module.embed_dim) if other_head else Head(floats(own))
    tensors = dict(head.tensors)
    channels = _to_rgb(tensors, settings, name)
    if head.left_out:
        settings["num_classes"] = 0
    if channels or head.left_out:
        module = _empty_of(config, settings, name)
    stretched = interpolation_note(tensors, module)
    left_out = fill(module, tensors, name)
    check_left_out(left_out, module, name, FOLDER_REMEDY)
    head.put_norm(module)
    labels, gaps = name_classes(
        config.get("label_names") or config.get("labels") or config.get("id2label"), module.num_classes
    )
    if labels:
        module.pretrained_cfg["label_names"] = labels
    module.problem_type = config.get("problem_type")  # TimmWrapper's word for what the outputs mean
    listed = left_out_note([*left_out, *head.left_out])
    return module, (*merged, *channels, *head.notes, *stretched, *gaps, *listed)


def _empty_of(config: dict[str, Any], settings: dict[str, Any], name: str) -> Any:
    """The module that a folder's config describes, to be filled."""
    try:
        return create_empty(config["architecture"], **settings)
    except (TypeError, ValueError, KeyError, AssertionError, RuntimeError) as error:
        raise CheckpointError(f"config.json in {name} doesn't describe a model: {first_line(error)}.") from error


def _to_rgb(tensors: Tensors, settings: dict[str, Any], name: str) -> tuple[str, ...]:
    """Turn the patch projection of other channels into one of RGB, in tensors and settings; a sentence about it."""
    kernel = tensors.get(KERNEL)
    if kernel is None or is_hybrid(tensors):
        return ()
    tensors[KERNEL], notes = rgb_kernel(kernel, name)
    if notes:
        pretrained = settings["pretrained_cfg"]
        sides = tuple(pretrained.get("input_size", (3, 224, 224)))[1:]
        colours = {key: rgb_values(pretrained.get(key), usual) for key, usual in IMAGENET_COLOURS.items()}
        if kernel.shape[1] < 3:
            colours = {key: grey_values(values) for key, values in colours.items()}
        settings |= {"in_chans": 3, "pretrained_cfg": pretrained | colours | {"input_size": (3, *sides)}}
    return notes


def _folder_settings(config: dict[str, Any]) -> dict[str, Any]:
    """Arguments of timm.create_model from a folder's config; old folders keep everything on one level."""
    pretrained = config.get("pretrained_cfg") or {key: value for key, value in config.items() if key in OLD_SETTINGS}
    if "input_size" not in pretrained:  # timm's own for that architecture, but for the labels that its tag stands for
        own = get_pretrained_cfg(get_arch_name(config["architecture"]))
        pretrained = ({**own.to_dict(), "tag": None} if own else {}) | pretrained
    settings = {
        key: value for key, value in (config.get("model_args") or {}).items() if key not in FOREIGN_ARGUMENTS
    }  # fmt: skip
    if settings.get("img_size") and pretrained.get("fixed_input_size") and not settings.get("dynamic_img_size"):
        sides = settings["img_size"]  # as timm reads it: older releases left the size before that in pretrained_cfg
        pretrained = pretrained | {"input_size": (3, *((sides, sides) if isinstance(sides, int) else sides))}
    settings["num_classes"] = config.get("num_classes", pretrained.get("num_classes", 1000))
    if "TimmWrapperModel" in (config.get("architectures") or ()):  # without its classifier
        settings["num_classes"] = 0
    if "global_pool" in config:
        settings.setdefault("global_pool", config["global_pool"])
    return {**settings, "pretrained_cfg": pretrained}


def _check_config(config: dict[str, Any], name: str) -> None:
    """Raise CheckpointError for settings of the wrong shape, or of a model that no computer holds."""
    for key, kind in (("architecture", str), ("model_args", dict), ("pretrained_cfg", dict)):
        if not isinstance(config.get(key), kind | None):
            kinds = "text" if kind is str else "group of settings"
            raise CheckpointError(f"config.json in {name} doesn't describe a model: {key} is no {kinds}.")
    architecture = config["architecture"] or ""
    if ":" in architecture or not is_model(get_arch_name(architecture)):
        raise CheckpointError(f"config.json in {name} names {architecture!r}, which isn't an architecture of timm.")
    arguments = config.get("model_args") or {}
    patch = arguments.get("patch_size") or _patch_in_name(architecture)
    check_numbers({**arguments, "input_size": (config.get("pretrained_cfg") or config).get("input_size")}, patch, name)


def _patch_in_name(architecture: str) -> int | None:
    match = re.search(r"patch(\d{1,3})", architecture)
    return int(match[1]) if match else None
