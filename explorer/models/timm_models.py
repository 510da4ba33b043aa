"""timm models: built by id, and wrapped as Model."""

import math
from difflib import get_close_matches
from pickle import UnpicklingError
from typing import Any

import timm
from safetensors import SafetensorError
from timm.data.config import resolve_data_config
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset
from timm.models import get_arch_name, get_arch_pretrained_cfgs, get_pretrained_cfg, is_model, model_entrypoint
from torch import nn
from torch.overrides import TorchFunctionMode

from explorer.errors import CheckpointError, ModelError, UnsupportedModelError
from explorer.models import token_layout
from explorer.models.adapters import TimmAdapter
from explorer.models.backbone import Model
from explorer.models.downloads import WEIGHTS, Progress, fetch
from explorer.models.formats.channels import rgb_values
from explorer.models.formats.labels import meaning, name_classes
from explorer.models.formats.reading import first_line
from explorer.models.geometry import RESAMPLING, Geometry
from explorer.models.limits import measure
from explorer.models.source import ModelSource

# timm modules whose models keep one plain softmax(QK^T) over all tokens in every block.
PLAIN_MODULES = (
    "vision_transformer",
    "vision_transformer_hybrid",
    "vision_transformer_relpos",
    "deit",
    "eva",
    "beit",
    "naflexvit",
    "deepseek_vit",
    "gemma4_vit",
    "qwen3_vit",
    "vitamin",
)
REASONS = {
    "cait": "its heads are mixed before and after softmax (talking heads), so no head has a map of its own",
    "xcit": "it attends between channels, not between patches (cross-covariance attention)",
    "swin_transformer": "its attention stays inside shifted windows",
    "swin_transformer_v2": "its attention stays inside shifted windows",
    "swin_transformer_v2_cr": "its attention stays inside shifted windows",
    "vision_transformer_sam": "its attention stays inside windows in most layers",
    "hiera": "its tokens are pooled between stages",
    "mvitv2": "its keys and values are pooled",
    "volo": "its first stage attends inside outlook windows",
    "convit": "its heads mix softmax with a fixed pattern of positions (gated attention)",
    "crossvit": "it has two branches of patches of different sizes",
    "tnt": "it attends inside each patch beside attending between patches",
    "pit": "its tokens are pooled between stages",
    "levit": "its tokens are thinned out between stages",
    "pvt_v2": "its keys and values are pooled",
    "twins": "it attends inside windows, or to pooled keys and values",
    "davit": "it attends inside windows and between channels",
}
BLOCK_REASONS = {
    "DiffAttention": "each head is the difference of two softmax maps (differential attention)",
    "DiffParallelScalingBlock": "each head is the difference of two softmax maps (differential attention)",
}
PARALLEL = "Each block holds {} attentions side by side: a layer shows the heads of all, {} of each, in their order."
PADDED = "timm would pad photos for it (crop_mode, crop_pct, dynamic_img_pad): here they are cut to the centre square."
OTHER_REASON = "it isn't a plain Vision Transformer (one softmax(QK^T) over all tokens in every block)"


def create_timm(model_id: str, pretrained: bool = False, **settings: Any) -> nn.Module:
    """timm's model of that id in eval mode, taking any image size where the family can.

    Raises ModelError for an unknown id, UnsupportedModelError with the reason where attention isn't plain.
    """
    _check_family(model_id)
    try:
        return timm.create_model(model_id, pretrained=pretrained, **{**settings, "dynamic_img_size": True})
    except TypeError as error:
        if "dynamic_img_size" not in str(error):
            raise ModelError(f"timm can't build {model_id}: {first_line(error)}.") from error
    return timm.create_model(model_id, pretrained=pretrained, **settings)


def create_empty(model_id: str, **settings: Any) -> nn.Module:
    """timm's model of that id to be filled by load_state_dict(assign=True): no random numbers that are thrown away.

    Raises CheckpointError where it would be larger than the limits.
    """
    module = measure(lambda: create_timm(model_id, **settings), model_id)
    if module.state_dict().keys() >= {name for name, _ in module.named_buffers()}:
        return module
    with _Unfilled():  # some of its buffers are computed, not loaded
        return create_timm(model_id, **settings)


class _Unfilled(TorchFunctionMode):
    """Parameters keep whatever their memory holds: every method that changes one in place does nothing.

    Seconds of random numbers are saved where a file fills the parameters anyway. A mode belongs to its thread.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        in_place = name.endswith("_") and not name.endswith("__") and name != "requires_grad_"
        if in_place and args and isinstance(args[0], nn.Parameter):
            return args[0]
        return func(*args, **(kwargs or {}))


def _check_family(model_id: str) -> None:
    if ":" in model_id:  # timm would look for these elsewhere, on the hub for one
        raise ModelError(f"{model_id} isn't an architecture of timm: give its name, such as vit_small_patch16_224.")
    architecture = get_arch_name(model_id)
    if not is_model(architecture):
        close = get_close_matches(architecture, timm.list_models(), 3)
        hint = f" Did you mean {', '.join(close)}?" if close else " timm.list_models() lists all."
        raise ModelError(f"timm has no model named {model_id}.{hint}")
    module = model_entrypoint(architecture).__module__.rpartition(".")[2]
    if module not in PLAIN_MODULES:
        reason = REASONS.get(module, OTHER_REASON)
        raise UnsupportedModelError(f"{model_id} can't be shown: {reason}. Pick a plain Vision Transformer.")


def download_timm(model_id: str, progress: Progress | None = None) -> nn.Module:
    """timm's model of that id with its pretrained weights, from the hub's cache or downloaded into it."""
    _check_family(model_id)
    try:
        config = get_pretrained_cfg(model_id)
    except RuntimeError as error:
        tags = ", ".join(timm.list_pretrained(f"{get_arch_name(model_id)}.*")) or "none"
        raise ModelError(f"timm has no weights named {model_id}; it has: {tags}.") from error
    if config is None or not config.hf_hub_id:
        raise ModelError(f"timm has no pretrained weights for {model_id}: pick another, or pretrained=False.")
    weights = fetch(config.hf_hub_id, progress, weight_names(config.hf_hub_filename))
    try:
        return create_timm(model_id, pretrained=True, pretrained_cfg_overlay={"file": str(weights)})
    except (SafetensorError, UnpicklingError, RuntimeError, OSError) as error:
        raise CheckpointError(
            f"The downloaded weights of {model_id} are damaged ({first_line(error)}): delete {weights} and try again."
        ) from error


def weight_names(filename: str | None) -> tuple[str, ...]:
    """The names under which a repository may keep its weights, the safe format first."""
    if filename is None:
        return WEIGHTS
    stem = filename.rpartition(".")[0]
    return tuple(dict.fromkeys((f"{stem}.safetensors", filename)))


def wrap_timm(
    module: nn.Module,
    source: str,
    name: str | None = None,
    notes: tuple[str, ...] = (),
    prefix_tokens: tuple[str, ...] | None = None,
) -> Model:
    """A timm module as Model: eval mode, no gradients, fused attention on, its layout found in the module itself."""
    anyway: Any = module.eval().requires_grad_(False)
    fused: list[Any] = [part for part in module.modules() if hasattr(part, "fused_attn")]
    for part in fused:
        part.fused_attn = True  # attention must pass through scaled_dot_product_attention to be recorded
    config = anyway.pretrained_cfg
    trunk = getattr(anyway, "encoder", anyway)  # the image encoders of language models sit inside a classifier
    _check_blocks(trunk, name or source)
    _check_channels(trunk, name or source)
    geometry, parallel = _geometry(anyway, trunk), getattr(trunk.blocks[0], "num_parallel", 1)
    if parallel > 1:
        notes += (PARALLEL.format(parallel, _num_heads(trunk)),)
    return Model(
        name=name or config.get("architecture") or source,
        source=ModelSource(source),
        module=module,
        adapter=TimmAdapter(classifies=_classifies(anyway), fixed_size=_fixed_size(trunk)),
        patch_size=token_layout.patch_side(_patch_sides(trunk)),
        depth=len(trunk.blocks),
        num_heads=_num_heads(trunk) * parallel,
        width=anyway.embed_dim,
        prefix_tokens=prefix_tokens or _prefix_tokens(trunk),
        class_names=_class_names(anyway),
        input_size=_input_size(anyway, trunk),
        outputs=meaning(getattr(anyway, "problem_type", None), anyway.num_classes),
        mean=rgb_values(config["mean"], IMAGENET_DEFAULT_MEAN),
        std=rgb_values(config["std"], IMAGENET_DEFAULT_STD),
        interpolation=config["interpolation"] if config.get("interpolation") in RESAMPLING else "bicubic",
        geometry=geometry,
        parallel=parallel,
        notes=notes if geometry else (*notes, PADDED),
    )


def _check_blocks(trunk: Any, name: str) -> None:
    for part in trunk.blocks[0].modules():
        if reason := BLOCK_REASONS.get(type(part).__name__):
            raise UnsupportedModelError(f"{name} can't be shown: {reason}. Pick a plain Vision Transformer.")


def _check_channels(trunk: Any, name: str) -> None:
    embed = _embed(trunk)
    projection = None if hasattr(embed, "backbone") else getattr(embed, "proj", None)  # a CNN before it
    if isinstance(projection, nn.Conv2d) and projection.in_channels != 3:
        raise UnsupportedModelError(f"{name} takes {projection.in_channels} colour channels, photos have 3.")


def _prefix_tokens(trunk: Any) -> tuple[str, ...]:
    return token_layout.prefix_tokens(getattr(trunk, "embeds", trunk), getattr(trunk, "num_prefix_tokens", 0))


def _embed(trunk: Any) -> Any:
    return trunk.embeds if hasattr(trunk, "embeds") else trunk.patch_embed


def _patch_sides(trunk: Any) -> tuple[int, int]:
    embed = _embed(trunk)
    return embed.feat_ratio(as_scalar=False) if hasattr(embed, "feat_ratio") else embed.patch_size


def _num_heads(trunk: Any) -> int:
    return next(part.num_heads for part in trunk.blocks[0].modules() if hasattr(part, "num_heads"))


def _fixed_size(trunk: Any) -> tuple[int, int] | None:
    if getattr(trunk, "dynamic_img_size", False) or not getattr(_embed(trunk), "strict_img_size", False):
        return None
    return tuple(trunk.patch_embed.img_size)


def _input_size(module: Any, trunk: Any) -> int:
    """The size in whole patches: some models were trained on images of which they ignored a rim."""
    size = min(_fixed_size(trunk) or module.pretrained_cfg["input_size"][1:])
    return size - size % token_layout.patch_side(_patch_sides(trunk))


def _geometry(module: Any, trunk: Any) -> Geometry | None:
    """What timm's own transform for evaluation does; None for what its settings leave open, or pad."""
    settings = resolve_data_config({}, pretrained_cfg=module.pretrained_cfg)
    height, width = crop = _fixed_size(trunk) or tuple(settings["input_size"][1:])
    share, patch = settings["crop_pct"], token_layout.patch_side(_patch_sides(trunk))
    padded = getattr(_embed(trunk), "dynamic_img_pad", False) and (height % patch or width % patch)
    if padded or settings["crop_mode"] == "border" or not 0 < share <= 1:
        return None
    resize = math.floor(height / share), math.floor(width / share)
    return Geometry(resize, crop, (height - height % patch, width - width % patch), settings["crop_mode"] == "squash")


def _classifies(module: Any) -> bool:
    """Whether the head gives classes; CLIP-like models without fine-tuning carry a projection to text space there."""
    config = module.pretrained_cfg
    projected = () if config.get("label_names") else _projections(config.get("architecture") or "")
    return module.num_classes not in (0, *projected)


def _projections(architecture: str) -> set[int]:
    """Widths of the text spaces that timm's weights of a contrastive architecture project to; none of others."""
    if not any(word in architecture for word in ("clip", "pe_core")):
        return set()
    weights = get_arch_pretrained_cfgs(architecture).values()
    return {config.num_classes for config in weights if "ft" not in (config.tag or "")}


def _class_names(module: Any) -> list[str] | None:
    config = module.pretrained_cfg
    if not _classifies(module):
        return None
    if names := name_classes(config.get("label_names"), module.num_classes)[0]:
        return names
    subset = infer_imagenet_subset(config) if config.get("tag") else None
    return imagenet_names(subset, module.num_classes) if subset else None


def imagenet_names(subset: str, num_classes: int) -> list[str] | None:
    """English names of an ImageNet label set in class order, where its size agrees."""
    info = ImageNetInfo(subset)
    if info.num_classes() != num_classes:
        return None
    return [info.index_to_description(index).split(",")[0] for index in range(num_classes)]
