"""transformers models: built by id, model type or folder, and wrapped as Model; the library is imported only then."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn

from explorer.errors import CheckpointError, UnsupportedModelError
from explorer.models import layout
from explorer.models.adapters import TransformersAdapter
from explorer.models.backbone import Model
from explorer.models.formats.config import read_config, read_json
from explorer.models.formats.fitting import check_finite, left_out_note
from explorer.models.formats.reading import first_line, read_weights_folder

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


def _library() -> Any:
    import transformers  # seconds of import: only where such a model is asked for

    transformers.utils.logging.disable_progress_bar()
    return transformers


def create_transformers(model_type: str, **settings: Any) -> nn.Module:
    """A backbone of that type with random weights and its default configuration; no download."""
    family = family_of(model_type)
    config = _library().CONFIG_MAPPING[model_type](**settings)
    cls = getattr(_library(), family.features)
    return cls._from_config(getattr(config, "vision_config", config), attn_implementation="sdpa")


def load_transformers(folder: Path) -> tuple[nn.Module, tuple[str, ...]]:
    """The module of a folder that save_pretrained wrote, and notes on what was left out of it.

    Raises CheckpointError that names a missing or misshapen tensor, where transformers would start it at random.
    """
    settings = read_config(folder)
    family = family_of(settings.get("model_type", ""))
    library = _library()
    try:
        config = library.CONFIG_MAPPING[settings["model_type"]].from_dict(settings)
    except (TypeError, ValueError, StrictDataclassError) as error:
        raise CheckpointError(f"config.json in {folder.name} doesn't describe a model: {first_line(error)}.") from error
    architectures = [name for name in config.architectures or [] if "ForImageClassification" in name]
    name = architectures[0] if architectures and hasattr(library, architectures[0]) else family.features
    if name == family.features:
        config = getattr(config, "vision_config", config)
    return _fill(getattr(library, name), config, read_weights_folder(folder), folder.name)


def _fill(cls: Any, config: Any, tensors: dict[str, Tensor], file: str) -> tuple[nn.Module, tuple[str, ...]]:
    for key, tensor in tensors.items():
        check_finite(tensor, key, file)
    try:
        module, report = cls.from_pretrained(
            None,
            config=config,
            state_dict={key: tensor.clone() for key, tensor in tensors.items()},  # not tied to the file
            dtype=torch.float32,
            output_loading_info=True,
            attn_implementation="sdpa",
        )
    except RuntimeError as error:
        raise CheckpointError(
            f"The weights in {file} don't fit its config.json: {str(error).strip().splitlines()[-1]}."
        ) from error
    # A backbone saved without its pooler gets a random one, which no token and no map depends on.
    missing = sorted(key for key in report["missing_keys"] if "pooler" not in key)
    if missing:
        raise CheckpointError(f"{file}: the tensor {missing[0]} is missing, so the model isn't complete.")
    return module, left_out_note(sorted(report["unexpected_keys"]))


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
    size = config.image_size if isinstance(config.image_size, int) else min(config.image_size)
    return size - size % config.patch_size


def _class_names(config: Any) -> list[str]:
    return [config.id2label[index] for index in range(config.num_labels)]


def read_processor(folder: Path) -> dict[str, Any] | None:
    """preprocessor_config.json of a folder, None where there is none."""
    file = folder / "preprocessor_config.json"
    return read_json(file) if file.is_file() else None
