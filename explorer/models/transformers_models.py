"""transformers models: built by id, model type or folder, and wrapped as Model; the library is imported only then."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from explorer.errors import ModelError, UnsupportedModelError
from explorer.models import layout
from explorer.models.adapters import TransformersAdapter
from explorer.models.backbone import Model

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


@dataclass(frozen=True)
class Family:
    """One model type of transformers: its class for features, its head's pooling and its usual pixels."""

    features: str
    base: str = ""  # attribute under which a classifier keeps the backbone
    pooling: str | None = None
    options: tuple[str, ...] = ("interpolate_pos_encoding",)
    norm_after: str = ""
    pixels: tuple = IMAGENET


FAMILIES = {
    "vit": Family("ViTModel", "vit", "first", pixels=HALF),
    "deit": Family("DeiTModel", "deit", "first"),
    "vit_msn": Family("ViTMSNModel", "vit", "first"),
    "vit_mae": Family("ViTMAEModel", options=("interpolate_pos_encoding", "noise")),
    "ijepa": Family("IJepaModel", "ijepa", "mean"),
    "beit": Family("BeitModel", "beit", "pooler", pixels=HALF),
    "data2vec-vision": Family("Data2VecVisionModel", "data2vec_vision", "pooler", pixels=HALF),
    "dinov2": Family("Dinov2Model", "dinov2", "first_and_mean", options=()),
    "dinov2_with_registers": Family("Dinov2WithRegistersModel", "dinov2_with_registers", "first_and_mean", options=()),
    "dinov3_vit": Family("DINOv3ViTModel", options=()),
    "clip": Family("CLIPVisionModel", "vision_model", "mean_after_first", norm_after="post_layernorm", pixels=CLIP),
    "siglip": Family("SiglipVisionModel", "vision_model", "mean", pixels=HALF),
}
FAMILIES["clip_vision_model"] = FAMILIES["clip"]
FAMILIES["siglip_vision_model"] = FAMILIES["siglip"]


def family_of(model_type: str) -> Family:
    """The family of a config's model_type; UnsupportedModelError for those the explorer can't show."""
    if model_type not in FAMILIES:
        raise UnsupportedModelError(
            f"Models of type {model_type!r} aren't supported: the explorer shows plain Vision Transformers "
            f"({', '.join(FAMILIES)})."
        )
    return FAMILIES[model_type]


def create_transformers(model_type: str, **settings: Any) -> nn.Module:
    """A backbone of that type with random weights and its default configuration; no download."""
    import transformers

    family = family_of(model_type)
    config = transformers.CONFIG_MAPPING[model_type](**settings)
    return build(getattr(config, "vision_config", config), family.features)


def build(config: Any, class_name: str) -> nn.Module:
    """A module of that class with random weights and attention through scaled_dot_product_attention."""
    import transformers

    return getattr(transformers, class_name)._from_config(config, attn_implementation="sdpa")


def load_transformers(source: str, local_files_only: bool = False) -> nn.Module:
    """The weights of a folder written by save_pretrained, or of a model id in the cache."""
    import transformers

    config = transformers.AutoConfig.from_pretrained(source, local_files_only=local_files_only)
    family = family_of(config.model_type)
    wanted = next((name for name in config.architectures or [] if "ForImageClassification" in name), family.features)
    cls = getattr(transformers, wanted)
    settings = {} if hasattr(config, "vision_config") and wanted == family.features else {"config": config}
    return cls.from_pretrained(source, attn_implementation="sdpa", local_files_only=local_files_only, **settings)


def wrap_transformers(
    module: nn.Module,
    source: str,
    name: str | None = None,
    notes: tuple[str, ...] = (),
    processor: dict[str, Any] | None = None,
    prefix_tokens: tuple[str, ...] | None = None,
) -> Model:
    """A transformers module as Model; processor: its preprocessor_config.json, where there is one."""
    anyway: Any = module.eval().requires_grad_(False)
    family = family_of(anyway.config.model_type)
    classifies = hasattr(anyway, "classifier") or hasattr(anyway, "cls_classifier")
    config = getattr(anyway.config, "vision_config", anyway.config)
    if hasattr(config, "mask_ratio"):
        config.mask_ratio = 0.0  # a masked autoencoder must see every patch
    adapter = TransformersAdapter(
        base=family.base if classifies else "",
        options=family.options,
        pooling=("two_tokens" if hasattr(anyway, "cls_classifier") else family.pooling) if classifies else None,
        norm_after=family.norm_after,
    )
    backbone = getattr(anyway, adapter.base) if adapter.base else anyway
    mean, std = _normalisation(family, processor)
    return Model(
        name=name or source.removeprefix("hf:"),
        source=source,
        module=module,
        adapter=adapter,
        patch_size=layout.patch_side(config.patch_size),
        depth=config.num_hidden_layers,
        num_heads=config.num_attention_heads,
        width=config.hidden_size,
        prefix_tokens=prefix_tokens or layout.prefix_tokens(backbone.embeddings),
        class_names=_class_names(anyway.config) if classifies else None,
        input_size=_input_size(config, processor),
        mean=mean,
        std=std,
        interpolation=RESAMPLING.get((processor or {}).get("resample", 3), "bicubic"),
        notes=notes,
    )


RESAMPLING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers, as processors store them


def _normalisation(family: Family, processor: dict[str, Any] | None) -> tuple:
    if processor and processor.get("image_mean") and processor.get("do_normalize", True):
        return tuple(processor["image_mean"]), tuple(processor["image_std"])
    return family.pixels


def _input_size(config: Any, processor: dict[str, Any] | None) -> int:
    """What the processor crops or resizes to, else what the configuration was trained at."""
    for field in ("crop_size", "size"):
        size = (processor or {}).get(field)
        size = (size.get("height") or size.get("shortest_edge")) if isinstance(size, dict) else size
        if size and size % config.patch_size == 0:
            return size
    image_size = config.image_size
    return image_size if isinstance(image_size, int) else min(image_size)


def _class_names(config: Any) -> list[str]:
    return [config.id2label[index] for index in range(config.num_labels)]


def read_processor(folder: Path) -> dict[str, Any] | None:
    """preprocessor_config.json of a folder, None where there is none."""
    file = folder / "preprocessor_config.json"
    if not file.is_file():
        return None
    try:
        return json.loads(file.read_text())
    except ValueError as error:
        raise ModelError(f"{file.name} in {folder.name} isn't readable JSON: {error}.") from error
