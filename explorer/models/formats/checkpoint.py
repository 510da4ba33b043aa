"""A weights file as a timm module: find the backbone, rename its tensors, recognise its architecture, fill it."""

import math
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from timm.data import constants
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from explorer.errors import CheckpointError, UnsupportedModelError, UntoldError
from explorer.models.formats.additions import check_around, check_left_out, check_quantised, merge_adapters
from explorer.models.formats.architecture import TIMM_EPSILON, Architecture, Said, architecture_of, oblong
from explorer.models.formats.channels import IMAGENET_COLOURS, SENTENCES, grey_values, rgb_kernel, rgb_values
from explorer.models.formats.dialects import (
    Dialect,
    Tensors,
    from_mae_pytorch,
    is_hybrid,
    is_mae_pytorch,
    plain,
    rename,
    sinusoids,
)
from explorer.models.formats.finding import Backbone, find_backbone
from explorer.models.formats.fitting import fill, fit, floats, interpolation_note, left_out_note
from explorer.models.formats.heads import Head, read_head
from explorer.models.formats.reading import Contents, first_line, read_file
from explorer.models.formats.recognition import recognise
from explorer.models.formats.said import (
    architecture_in_file,
    arguments_in_file,
    labels_in_file,
    pixels_in_file,
    pixels_in_tensors,
    pixels_of,
    run_note,
    said_by,
    said_in_file,
)
from explorer.models.timm_models import create_empty, imagenet_names

KERNEL = "patch_embed.proj.weight"
MAE_SIDE = 224  # pixels that MAE-pytorch trains at
MAX_PREFIX = 16  # tokens before the patches, at most
NAME_ARCH = "name its timm architecture with arch"


@dataclass(frozen=True)
class Checkpoint:
    """A weights file turned into a module, with sentences on what was assumed or left out."""

    module: nn.Module
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Found:
    """A state dict in timm's names, with what is known of it beside."""

    file: str
    tensors: Tensors
    backbone: Backbone
    head: Head
    said: Said
    notes: tuple[str, ...]
    pixels: dict[str, Any]  # what the file's settings say of them, under timm's names
    labels: tuple[tuple[str, ...], ...]  # lists of names in the file's settings

    @property
    def is_grey(self) -> bool:
        """Whether photos are reduced to grey for it."""
        return SENTENCES[1] in self.notes or SENTENCES[2] in self.notes

    def finish(self, module: Any, left_out: list[str], remedy: str, bare: bool = False) -> "Checkpoint":
        """The filled module as a checkpoint; raises where a tensor without a place would change its arithmetic."""
        check_left_out(left_out, module, self.file, remedy, bare)
        self.head.put_norm(module)
        module.pretrained_cfg |= self.pixels
        if self.is_grey:
            config = module.pretrained_cfg
            config |= {key: grey_values(rgb_values(config[key], usual)) for key, usual in IMAGENET_COLOURS.items()}
        listed = left_out_note([*left_out, *self.head.left_out, *self.backbone.left_out])
        return Checkpoint(module, (*self.notes, *_name_classes(module, self.labels), *listed))


def load_checkpoint(
    path: Path,
    arch: str | None = None,
    num_heads: int | None = None,
    grid: tuple[int, int] | None = None,
    copy: str | None = None,
) -> Checkpoint:
    """A weights file as a timm module, its architecture recognised by keys and shapes unless arch or the file names it.

    copy: the beginning of the keys of the weights to take, where a training file holds several copies.
    Raises CheckpointError that names what is missing, misshapen, unsafe or unknown.
    """
    contents = read_file(path)
    found = _find(contents, path.name, Said(num_heads, grid), copy)
    try:
        return _load(found, arch, contents.settings)
    except UntoldError:
        raise
    except CheckpointError as error:
        name = found.backbone.dialect.name
        if name == "timm":
            raise
        raise CheckpointError(f"{error} (The file has {name}'s names; those here are timm's for the same.)") from error


def _load(found: _Found, arch: str | None, settings: dict[str, Any]) -> Checkpoint:
    if arch is not None:
        return _load_clip(arch, found) or _load_named(arch, found)
    found = replace(found, notes=(*run_note(settings, found.said, found.backbone), *found.notes))
    named = architecture_in_file(settings, found.backbone.prefix)
    if named is not None:
        pooling = {"global_pool": found.said.pooling} if found.said.pooling else {}
        try:
            return _load_named(named, found, **arguments_in_file(settings, found.file) | pooling)
        except (CheckpointError, UnsupportedModelError):  # its settings were changed: shapes tell them
            said = said_by(named, len(found.tensors[KERNEL])) if plain(found.tensors) else None
            if said is None:
                raise
            pixels = pixels_of(named) | found.pixels
            found = replace(found, said=_first_said(found.said, said), pixels=pixels)
    if not plain(found.tensors):
        return _load_named(recognise(found.tensors, found.file), found)
    return _load_plain(found)


def _find(contents: Contents, file: str, asked: Said, copy: str | None) -> _Found:
    """The backbone's tensors as timm names them, adapters merged, and what caller, file and project say of it."""
    backbone = find_backbone(contents, file, copy)
    own, merged = merge_adapters(backbone.tensors, contents.settings, file)
    check_around(backbone.around, contents.tensors, file)
    if backbone.dialect.name == "transformers" and not any(key.endswith("position_embeddings") for key in own):
        raise CheckpointError(
            f"{file} is of a family of transformers that its config.json tells: give the folder that holds both."
        )
    check_quantised(own, file)
    tensors = floats(_convert(backbone.dialect, own, file))
    kernel = tensors.get(KERNEL)
    width, patch_size = (kernel.shape[0], kernel.shape[-1]) if kernel is not None and kernel.ndim == 4 else (0, 0)
    head = read_head(tensors, width)
    tensors, notes = head.tensors, (*backbone.notes, *merged, *head.notes)
    if kernel is not None and kernel.ndim == 4 and not is_hybrid(tensors):
        tensors[KERNEL], channels = rgb_kernel(kernel, file)
        notes += channels
    said = _combine(asked, said_in_file(contents, backbone, width, patch_size) if width else Said(), backbone, tensors)
    if is_mae_pytorch(tensors) and width:
        rows, cols = said.grid or (MAE_SIDE // patch_size,) * 2
        tensors = from_mae_pytorch(tensors) | {"pos_embed": sinusoids(rows * cols, width)}
        notes += (f"Its positions are sines that no file holds: computed for {rows} x {cols} patches.",)
        said = replace(said, grid=(rows, cols))
    pixels, layer = pixels_in_tensors(contents.tensors, backbone)
    pixels = pixels_in_file(contents.settings, backbone.prefix) | pixels
    backbone = replace(backbone, left_out=tuple(key for key in backbone.left_out if key not in layer))
    return _Found(file, tensors, backbone, head, said, notes, pixels, labels_in_file(contents.settings))


def _combine(asked: Said, in_file: Said, backbone: Backbone, tensors: Tensors) -> Said:
    """What the caller says, else the file, else the project that wrote it."""
    dialect = backbone.dialect
    # DINOv2 is the one family of transformers whose LayerNorm epsilon is timm's; its layer scale gives it away.
    own = TIMM_EPSILON if "blocks.0.ls1.gamma" in tensors and dialect.name == "transformers" else dialect.epsilon
    length = tensors["pos_embed"].shape[-2] if "pos_embed" in tensors and tensors["pos_embed"].ndim == 3 else 0
    grid = in_file.grid
    if grid and length and not 0 <= length - grid[0] * grid[1] <= MAX_PREFIX:  # the size of something else
        grid = None
    return Said(
        num_heads=asked.num_heads or in_file.num_heads,
        grid=asked.grid or grid,
        epsilon=in_file.epsilon or own,
        activation=in_file.activation or dialect.activation,
        pooling=in_file.pooling or dialect.pooling,
    )


def _convert(dialect: Dialect, tensors: Tensors, file: str) -> Tensors:
    """The tensors under timm's names; plain models in other names than those all have a last norm."""
    try:
        converted = dialect.convert(tensors)
    except KeyError as error:
        raise CheckpointError(f"{file}: the tensor {error.args[0]} is missing beside the others.") from error
    except (RuntimeError, IndexError) as error:
        raise CheckpointError(f"{file}: shapes of its tensors disagree: {first_line(error)}.") from error
    if dialect.name != "timm" and plain(converted) and "norm.weight" not in converted:
        raise CheckpointError(f"{file} has {dialect.name}'s names but not its last norm: the model isn't complete.")
    return converted


def _first_said(first: Said, second: Said) -> Said:
    """What the first says, else the second."""
    return Said(**{field.name: getattr(first, field.name) or getattr(second, field.name) for field in fields(Said)})


def _load_named(arch: str, found: _Found, **options: Any) -> Checkpoint:
    if ":" in arch:  # timm would look for these elsewhere, on the hub for one
        raise CheckpointError(f"{arch} isn't an architecture: give a timm name, such as vit_small_patch16_224.")
    heads, grid, tensors = found.said.num_heads, found.said.grid, found.tensors
    settings: dict[str, Any] = options | ({"num_heads": heads} if heads else {})
    patch = tensors.get(KERNEL)
    if grid and patch is not None:
        settings["img_size"] = (grid[0] * patch.shape[-2], grid[1] * patch.shape[-1])
    module = _empty(arch, tensors, settings)
    _check_patches(module, arch, found)
    if size := None if grid else _own_size(module, found):
        settings["img_size"] = (size, size)
        module = _empty(arch, tensors, settings)
    if "img_size" in settings:
        module.pretrained_cfg["input_size"] = (3, *settings["img_size"])
    if "blocks.0.gamma_1" in module.state_dict():  # these keep the names that DeiT III has in its own files
        tensors = rename(tensors, ((r"(blocks\.\d+)\.ls([12])\.gamma", r"\1.gamma_\2"),))
    found = replace(found, notes=(*found.notes, *interpolation_note(tensors, module)))
    left_out = fill(module, tensors, found.file)
    return found.finish(module, left_out, f"{arch} isn't the architecture of this file: name another with arch")


def _empty(arch: str, tensors: Tensors, settings: dict[str, Any]) -> Any:
    """The architecture with the file's classes, to be filled."""
    try:
        return create_empty(arch, num_classes=len(tensors.get("head.weight", ())), **settings)
    except (AssertionError, ValueError, TypeError, RuntimeError) as error:
        given = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in settings.items())
        reason = f" ({first_line(error).rstrip('.')})" if str(error) else ""
        raise CheckpointError(
            f"timm can't build {arch} with {given or 'its own settings'}{reason}: give others, or another arch."
        ) from error


def _check_patches(module: Any, arch: str, found: _Found) -> None:
    """Raise CheckpointError where timm would resample the file's patches to the architecture's: another model."""
    own, stored = (tensors.get(KERNEL) for tensors in (module.state_dict(), found.tensors))
    if own is not None and stored is not None and own.ndim == stored.ndim == 4 and own.shape[2:] != stored.shape[2:]:
        sides = " x ".join(map(str, stored.shape[2:])), " x ".join(map(str, own.shape[2:]))
        raise CheckpointError(f"{found.file} has patches of {sides[0]} pixels, {arch} of {sides[1]}: {NAME_ARCH}.")


def _own_size(module: Any, found: _Found) -> int | None:
    """The side in pixels that the file's positions are for; None where it is the architecture's, or can't be told.

    Raises UntoldError for positions that form no square: timm would interpolate them as one.
    """
    own, stored = getattr(module, "pos_embed", None), found.tensors.get("pos_embed")
    sides = getattr(getattr(module, "patch_embed", None), "grid_size", None)
    if own is None or stored is None or sides is None or own.ndim != 3 or stored.ndim != 3:
        return None
    more = stored.shape[1] - own.shape[1]
    patches = more + math.prod(sides)
    side = math.isqrt(max(0, patches))
    if side * side != patches and abs(more) > MAX_PREFIX:
        raise UntoldError(
            f"{found.file} has positions for {patches} patches, which are no square: say their rows and columns with "
            f"grid, such as {oblong(patches)}."
        )
    return side * found.tensors[KERNEL].shape[-1] if more and side * side == patches else None


def _load_clip(arch: str, found: _Found) -> Checkpoint | None:
    """A CLIP of any size, whose activation the named architecture tells; None for other files and names."""
    if "clip" not in arch or "norm_pre.weight" not in found.tensors or not plain(found.tensors):
        return None
    with suppress(CheckpointError):
        return _load_named(arch, found)
    activation = "quick_gelu" if "quickgelu" in arch else "gelu"
    return _load_plain(replace(found, said=replace(found.said, activation=activation)))


def _load_plain(found: _Found) -> Checkpoint:
    architecture = architecture_of(found.tensors, found.said)
    module = _build(architecture)
    kept, dropped = fit(found.tensors, module, found.file)
    module.load_state_dict(kept, assign=True)
    notes = (*architecture.assumed, *_rotary_note(found), *_set_pixels(module, found), *found.notes)
    return replace(found, notes=notes).finish(module, dropped, NAME_ARCH, bare=True)


def _rotary_note(found: _Found) -> tuple[str, ...]:
    """The sentence on rotary ViTs that have DeiT III's very tensors; none for other files."""
    twins = {384: "small", 768: "base", 1024: "large"}
    patch, positions = found.tensors[KERNEL].shape, found.tensors["pos_embed"].shape[-2]
    twin = twins.get(patch[0]) if (patch[-1], positions) == (16, 196) else None
    if twin is None or "blocks.0.gamma_1" not in found.backbone.tensors or "cls_token" not in found.tensors:
        return ()
    return (f"Taken for DeiT III; if it has rotary positions, say arch vit_{twin}_patch16_rope_ape_224.",)


def _build(architecture: Architecture) -> nn.Module:
    cls = VisionTransformerDistilled if architecture.distilled else VisionTransformer
    try:
        with torch.device("meta"):  # shapes only: random numbers would be thrown away at once
            module: Any = cls(**architecture.settings, weight_init="skip")
    except (RuntimeError, ValueError, AssertionError) as error:
        raise CheckpointError(f"The tensors describe no Vision Transformer: {first_line(error)}.") from error
    sides = architecture.settings["img_size"]
    module.pretrained_cfg = {"input_size": (3, *sides), "interpolation": "bicubic", "crop_pct": 1.0}
    return module


def _set_pixels(module: Any, found: _Found) -> tuple[str, ...]:
    """Mean and standard deviation, which no state dict says, and the note that they are assumed; none where said."""
    if "mean" in found.pixels:
        return ()
    mean, std, words = constants.IMAGENET_DEFAULT_MEAN, constants.IMAGENET_DEFAULT_STD, "ImageNet's mean and deviation"
    if found.backbone.dialect.name == "transformers" and found.backbone.prefix.endswith("vit."):
        mean, std, words = constants.IMAGENET_INCEPTION_MEAN, constants.IMAGENET_INCEPTION_STD, "0.5 and 0.5"
    if "norm_pre.weight" in found.tensors:
        mean, std, words = constants.OPENAI_CLIP_MEAN, constants.OPENAI_CLIP_STD, "CLIP's mean and deviation"
    if found.is_grey:
        words = f"{words}, averaged to one of grey,"
    module.pretrained_cfg |= {"mean": mean, "std": std}
    return (f"The file doesn't say how pixels are normalised: {words} assumed.",)


def _name_classes(module: Any, labels: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    """The names that the file gives its classes, else ImageNet's for 1,000, and the note that they are assumed."""
    fitting = {names for names in labels if len(names) == module.num_classes}
    if len(fitting) == 1:
        module.pretrained_cfg["label_names"] = [*fitting.pop()]
        return ()
    names = imagenet_names("imagenet-1k", module.num_classes)
    if names is None or module.pretrained_cfg.get("label_names"):
        return ()
    module.pretrained_cfg["label_names"] = names
    return ("The file names no classes: its 1,000 are taken to be ImageNet's.",)
