"""What a weights file's own settings say of its model: hyper_parameters, args or config beside the tensors."""

import re
from collections.abc import Callable
from typing import Any

import timm
from timm.layers.create_act import get_act_layer
from timm.models import get_arch_name, get_arch_pretrained_cfgs, get_pretrained_cfg
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import Block, VisionTransformer

from explorer.errors import UnsupportedModelError, UntoldError
from explorer.models.formats.architecture import Said
from explorer.models.formats.dialects import Tensors
from explorer.models.formats.finding import Backbone
from explorer.models.formats.labels import name_classes
from explorer.models.formats.reading import Contents
from explorer.models.geometry import RESAMPLING
from explorer.models.limits import check_numbers, measure
from explorer.models.timm_models import create_timm

HEADS = {"num_heads", "num_attention_heads", "n_heads", "nhead", "n_head", "heads"}
EPSILONS = {"layer_norm_eps", "layer_norm_epsilon", "norm_eps", "ln_eps"}
ACTIVATIONS = {"hidden_act", "act_layer", "activation", "hidden_activation"}
POOLINGS = {"global_pool", "gp", "pool_type", "pooling"}
SIZES = {"img_size", "image_size", "input_size", "crop_size"}
MEANS, DEVIATIONS = {"mean", "image_mean", "img_mean"}, {"std", "image_std", "img_std"}
LAYER_PARTS = re.compile(r"(?:pixel_|image_|img_)?(mean|std)")  # of a layer that normalises inside the model
LABELS = re.compile(r"(?:.*\.)?(?:class_names|classes|label_names|labels|categories|target_names)", re.IGNORECASE)
LABEL_MAPS = re.compile(r"(?:.*?\.)??(?:class_to_idx|idx_to_class|id2label|label2id|classes|class_names|labels)\.(.+)")
ARCHITECTURES = {"arch", "architecture", "model", "model_name", "backbone", "encoder"}
# What timm's train.py passes on to create_model, and what of it the tensors or nobody says.
ARGUMENT = re.compile(r"(?:.*\.)?model_kwargs\.(?!(?:pretrained|checkpoint|cache)\w*$|num_classes$|in_chans$)(\w+)")
TIMMS_OWN = re.compile(r"(hf[-_]hub:)?timm/")  # in front of its names on the hub
KNOWN_ACTIVATIONS = {
    "gelu", "gelu_tanh", "gelu_pytorch_tanh", "gelu_new", "quick_gelu", "quickgelu", "silu", "swish", "relu", "mish",
}  # fmt: skip
TIMM_ACTIVATIONS = {name: get_act_layer(name) for name in ("gelu", "gelu_tanh", "quick_gelu", "silu")}
# Words in a setting's name that point to another model in the same file, or to the one that sees.
OTHERS = {"decoder", "text", "language", "llm", "bert", "student", "predictor", "optimizer"}
OURS = {"encoder", "backbone", "vision", "visual", "vit", "image"}


def said_in_file(contents: Contents, backbone: Backbone, width: int, patch_size: int) -> Said:
    """The settings of the backbone; UntoldError where several numbers of heads could be its."""
    clip = _clip_activation(contents, backbone)

    def find(names: set[str], fits: Callable[[Any], bool]) -> set[Any]:
        return _values(contents.settings, names, fits, backbone.prefix)

    heads = {int(value) for value in find(HEADS, lambda value: _divides(value, width))}
    if len(heads) > 1:
        numbers = ", ".join(map(str, sorted(heads)))
        raise UntoldError(f"The file names several numbers of heads ({numbers}): say the right one with num_heads.")
    sizes = find(SIZES, lambda value: _side(value, patch_size) is not None)
    return Said(
        num_heads=_only(heads) or _moco_heads(backbone, width),
        grid=_side(_only(sizes), patch_size),
        epsilon=_only(find(EPSILONS, lambda value: isinstance(value, float) and 0 < value < 0.1)),
        activation=_only(find(ACTIVATIONS, lambda value: str(value).lower() in KNOWN_ACTIVATIONS)) or clip,
        pooling=_only(find(POOLINGS, lambda value: value in ("avg", "token", "max", "avgmax", "map"))),
    )


def pixels_in_file(settings: dict[str, Any], prefix: str) -> dict[str, Any]:
    """How the file says that pixels are normalised and photos fitted, under timm's names; only what it says."""

    def find(names: set[str], fits: Callable[[Any], bool]) -> Any:
        return _only(_values(settings, names, fits, prefix))

    mean, std = find(MEANS, _is_colour), find(DEVIATIONS, lambda value: _is_colour(value) and min(value) > 0)
    said = {
        "mean": mean and std and mean,
        "std": mean and std,
        "crop_pct": find({"crop_pct"}, lambda value: isinstance(value, float) and 0 < value <= 1),
        "interpolation": find({"interpolation"}, lambda value: isinstance(value, str) and value in RESAMPLING),
    }
    return {name: value for name, value in said.items() if value is not None}


def pixels_in_tensors(tensors: Tensors, backbone: Backbone) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Mean and deviation that a layer of a wrapper takes off its pixels, under timm's names, and its keys.

    It stands around the backbone as two tensors of three numbers, of pixels from 0 to 1 or to 255; without it both are
    empty.
    """
    layers: dict[str, dict[str, str]] = {}
    for key in backbone.around:
        scope, _, name = key.rpartition(".")
        if (match := LAYER_PARTS.fullmatch(name)) and tensors[key].numel() == 3:
            layers.setdefault(scope, {})[match[1]] = key
    pairs = [layer for layer in layers.values() if layer.keys() == {"mean", "std"}]
    if len(pairs) != 1:
        return {}, ()
    mean, std = (tuple(tensors[pairs[0][name]].double().flatten().tolist()) for name in ("mean", "std"))
    scale = 255 if max(*mean, *std) > 1 else 1
    pixels = {"mean": tuple(part / scale for part in mean), "std": tuple(part / scale for part in std)}
    known = all(map(_is_share, pixels["mean"])) and min(std) > 0
    return (pixels, tuple(pairs[0].values())) if known else ({}, ())


def _is_colour(value: Any) -> bool:
    """Whether it is a number for each of red, green and blue, or one for all, of pixels from 0 to 1."""
    return isinstance(value, tuple) and len(value) in (1, 3) and all(_is_share(part) for part in value)


def _is_share(value: Any) -> bool:
    return isinstance(value, (int, float)) and 0 <= value <= 1


def labels_in_file(settings: dict[str, Any]) -> tuple[tuple[str, ...], ...]:
    """Every list of names that the file may call its classes by: lists, and maps between names and indices."""
    found = [value for key, value in settings.items() if LABELS.fullmatch(key) and _are_texts(value)]
    maps: dict[str, dict[str, Any]] = {}
    for key, value in settings.items():
        if match := LABEL_MAPS.fullmatch(key):
            maps.setdefault(key[: match.start(1)], {})[match[1]] = value
    return tuple(dict.fromkeys([*found, *filter(None, map(_in_order, maps.values()))]))


def _are_texts(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(name, str) for name in value)


def _in_order(labels: dict[str, Any]) -> tuple[str, ...] | None:
    """Names in the order of their indices, from a map in either direction; None where it is none."""
    if all(isinstance(index, int) for index in labels.values()):
        labels = {str(index): name for name, index in labels.items()}
    names, gaps = name_classes(labels, len(labels))
    return tuple(names) if names and not gaps else None


def architecture_in_file(settings: dict[str, Any], prefix: str) -> str | None:
    """The architecture of timm that a training file names; None where it names none, or several."""
    named = _values(settings, ARCHITECTURES, lambda value: isinstance(value, str) and _is_timm(_bare(value)), prefix)
    return _only({_bare(name) for name in named})


def _bare(name: str) -> str:
    """The name without where it lies on the hub, nor a tag that timm doesn't know."""
    match = TIMMS_OWN.match(name)
    name = name[match.end() :] if match else name
    return name if name in get_arch_pretrained_cfgs(get_arch_name(name)) else get_arch_name(name)


def arguments_in_file(settings: dict[str, Any], file: str) -> dict[str, Any]:
    """What a training file says that its architecture was built with beside its name; CheckpointError beyond limits."""
    found = {match[1]: value for key, value in settings.items() if (match := ARGUMENT.fullmatch(key))}
    found = {name: value for name, value in found.items() if value != type(None).__name__}
    check_numbers(found, found.get("patch_size"), file)
    return found


def pixels_of(architecture: str) -> dict[str, Any]:
    """How timm normalises pixels and fits photos for an architecture by itself, under its names."""
    config = get_pretrained_cfg(architecture)
    names = ("mean", "std", "crop_pct", "interpolation")
    return {name: getattr(config, name) for name in names if getattr(config, name, None) is not None}


def said_by(architecture: str, width: int) -> Said | None:
    """What a plain architecture of timm decides and shapes don't: nothing where it isn't that of the backbone at all.

    None where its blocks aren't the plain ones.
    """
    try:
        module: Any = measure(lambda: create_timm(architecture), architecture)
    except UnsupportedModelError:
        return Said()
    block: Any = module.blocks[0]
    if type(module) not in (VisionTransformer, VisionTransformerDistilled) or type(block) is not Block:
        return None
    plain: Any = block
    kinds: dict[str, Any] = TIMM_ACTIVATIONS
    activation = next((name for name, kind in kinds.items() if isinstance(plain.mlp.act, kind)), None)
    heads = plain.attn.num_heads if module.embed_dim == width else None
    return Said(heads, epsilon=plain.norm1.eps, activation=activation, pooling=module.global_pool)


def _is_timm(name: str) -> bool:
    return re.fullmatch(r"\w+(\.\w+)?", name) is not None and timm.is_model(get_arch_name(name))


def _values(settings: dict[str, Any], names: set[str], fits: Callable[[Any], bool], prefix: str) -> set[Any]:
    """What the settings of those names say: those that name the backbone's part before those that name none."""
    parts = set(prefix.lower().split(".")) - {""}
    ranked: dict[int, set[Any]] = {}
    for key, value in settings.items():
        scope, _, name = key.lower().rpartition(".")
        words = set(re.split(r"[._]", scope)) | {scope.rpartition(".")[2]}
        if name in names and fits(value) and not words & OTHERS:
            ranked.setdefault(bool(words & (parts | OURS)), set()).add(value)
    return ranked[max(ranked)] if ranked else set()


def _only(values: set[Any]) -> Any:
    return next(iter(values)) if len(values) == 1 else None


def _divides(value: Any, width: int) -> bool:
    text = str(value)
    return len(text) < 6 and text.isascii() and text.isdigit() and int(text) > 0 and width % int(text) == 0


def _side(value: Any, patch_size: int) -> tuple[int, int] | None:
    """(rows, cols) of an image size in pixels; None for anything else."""
    sides = (value, value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(sides, tuple) or len(sides) not in (2, 3) or not all(isinstance(side, int) for side in sides):
        return None
    height, width = sides[-2:]
    if patch_size < 1 or height < patch_size or width < patch_size or height % patch_size or width % patch_size:
        return None
    return height // patch_size, width // patch_size


def _moco_heads(backbone: Backbone, width: int) -> int | None:
    """MoCo v3's ViT-S has 12 heads, twice as many as all others of its width; its training files name both encoders."""
    return 12 if width == 384 and re.search(r"(base|momentum)_encoder\.", backbone.prefix) else None


def run_note(settings: dict[str, Any], said: Said, backbone: Backbone) -> tuple[str, ...]:
    """The sentence on a CLIP whose activation the name of open_clip's run tells, which its start can change."""
    if backbone.dialect.name != "CLIP" or said.activation != "gelu" or "name" not in settings:
        return ()
    return (
        "The name of its run says GELU; if it began with OpenAI's weights or --force-quick-gelu, say with arch "
        "vit_base_patch16_clip_quickgelu_224.",
    )


def _clip_activation(contents: Contents, backbone: Backbone) -> str | None:
    """QuickGELU or GELU of a CLIP: OpenAI's files hold its sizes as tensors, open_clip's the name of the run."""
    if backbone.dialect.name != "CLIP":
        return None
    scope = backbone.prefix.removesuffix("visual.")
    if f"{scope}vocab_size" in contents.tensors and f"{scope}context_length" in contents.tensors:
        return "quick_gelu"
    name = str(contents.settings.get("name", ""))
    if "quickgelu" in name.lower():
        return "quick_gelu"
    return "gelu" if re.search(r"model_ViT", name) else None
