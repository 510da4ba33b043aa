"""transformers models: built by id, model type or folder, and wrapped as Model; the library is imported only then."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn

from explorer.errors import CheckpointError, UnsupportedModelError
from explorer.models import token_layout
from explorer.models.adapters import TransformersAdapter
from explorer.models.backbone import Model
from explorer.models.formats.additions import check_left_out, check_quantised, merge_adapters
from explorer.models.formats.channels import rgb_kernel
from explorer.models.formats.config import read_config
from explorer.models.formats.fitting import check_finite, left_out_note
from explorer.models.formats.heads import read_head
from explorer.models.formats.labels import meaning, name_classes
from explorer.models.formats.reading import first_line, read_model_folder
from explorer.models.geometry import Geometry
from explorer.models.limits import check_filled, check_numbers, measure
from explorer.models.processor import NO_PROCESSOR, Processor
from explorer.models.source import ModelSource

# Keys that a backbone computes with; text models, decoders and projections beside it don't matter.
BACKBONE_KEY = re.compile(
    r"(?!text_model|.*(decoder|text_|qformer|mask_token|position_ids)).*(layers?\.\d+\.|embeddings\.)"
)
# What else may stand beside the backbone of a classifier.
OWN = re.compile(
    r"((cls_|distillation_)?classifier|pooler|decoder|text_\w+|\w+_projection|logit_\w+|mask_token|loss\w*|criterion)(\.|$)"
)
BESIDE = "A layer ({}) stands beside the classifier, which config.json doesn't describe: its classes are left out."
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
# Settings of how it is computed, not of what: the explorer asks for its own.
OURS = ("_attn_implementation", "attn_implementation", "_attn_implementation_internal", "dtype", "torch_dtype")
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


def library() -> Any:
    """transformers itself."""
    import transformers  # seconds of import: only where such a model is asked for

    transformers.utils.logging.disable_progress_bar()
    return transformers


def create_transformers(model_type: str, **settings: Any) -> nn.Module:
    """A backbone of that type with random weights and its default configuration; no download."""
    family = family_of(model_type)
    config = library().CONFIG_MAPPING[model_type](**settings)
    cls = getattr(library(), family.features)
    return cls._from_config(getattr(config, "vision_config", config), attn_implementation="sdpa")


def load_transformers(folder: Path, name: str | None = None) -> tuple[nn.Module, tuple[str, ...]]:
    """The module of a folder that save_pretrained wrote, and notes on its tensors and classes.

    Raises CheckpointError that names a missing or misshapen tensor, where transformers would start it at random, and
    one that changes what the model computes but has no place in it.
    name: what errors call the folder; by default its own.
    """
    name = name or folder.name
    settings = read_config(folder, name)
    family = family_of(str(settings.get("model_type")))
    if settings.pop("quantization_config", None):
        raise CheckpointError(f"{name} holds quantised weights by its config.json: save them dequantised.")
    stored, merged = merge_adapters(*read_model_folder(folder, name), name)
    tensors, lost = _plain_classifier(stored)
    check_quantised(tensors, name)
    vision = settings.get("vision_config")
    for group in (settings, vision if isinstance(vision, dict) else {}):
        for key in OURS:
            group.pop(key, None)
    channels = _to_rgb(tensors, [settings, *([vision] if isinstance(vision, dict) else [])], name)
    labels, gaps = _take_labels(settings, tensors, name)
    config = read_settings(settings, name)
    cls = _class_name(config, family, tensors)
    if cls != family.features and (beside := _beside(tensors, family)):
        cls, gaps = family.features, (BESIDE.format(beside),)
    if cls == family.features:
        config = getattr(config, "vision_config", config)
    module, left_out = fill(getattr(library(), cls), config, tensors, name)
    own: Any = module
    own.class_names = labels
    return module, (*merged, *channels, *lost, *gaps, *left_out)


def _beside(tensors: dict[str, Tensor], family: Family) -> str | None:
    """A tensor that is neither the backbone's nor its classifier's, and may have a part in the answer."""
    own = f"{family.base}."
    others = [key for key in tensors if not key.startswith(own) and not OWN.match(key)]
    return others[0] if 0 < len(others) < len(tensors) / 2 else None  # else the backbone has no name in the file


def _class_name(config: Any, family: Family, tensors: dict[str, Tensor]) -> str:
    """The classifier that config.json names, or where it names nothing the one of the weights; else the backbone."""
    named = [one for one in config.architectures or [] if "ForImageClassification" in one]
    if not any(key.endswith("classifier.weight") for key in tensors):
        return family.features
    if config.architectures is None:
        stem = family.features.removesuffix("Model")
        named = [f"{part}ForImageClassification" for part in (stem, stem.removesuffix("Vision"))]
    return next((one for one in named if hasattr(library(), one)), family.features)


def read_settings(settings: dict[str, Any], name: str) -> Any:
    """transformers' configuration of a folder's settings, whose sizes are within the limits."""
    vision = settings.get("vision_config")
    own = vision if isinstance(vision, dict) else settings
    check_numbers(own, own.get("patch_size"), name)
    try:
        return library().CONFIG_MAPPING[settings["model_type"]].from_dict(settings)
    except (TypeError, ValueError, AttributeError, KeyError, StrictDataclassError) as error:
        raise CheckpointError(f"config.json in {name} doesn't describe a model: {first_line(error)}.") from error


def _to_rgb(tensors: dict[str, Tensor], settings: list[dict[str, Any]], name: str) -> tuple[str, ...]:
    """Turn the patch projection of other channels into one of RGB, in tensors and settings; a sentence about it."""
    key = next((key for key in tensors if re.search(r"patch_embeddings?(\.projection)?\.weight$", key)), None)
    if key is None:
        return ()
    tensors[key], notes = rgb_kernel(tensors[key], name)
    for group in settings if notes else ():
        group["num_channels"] = 3
    return notes


def _plain_classifier(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors with a linear layer that somebody put behind dropout under the classifier's own name.

    Any other classifier of several layers is taken out, with a note.
    """
    own = {key.replace("classifier.", "head.", 1): t for key, t in tensors.items() if key.startswith("classifier.")}
    weight = next((t for t in own.values() if t.ndim == 2), None)
    if weight is None or "head.weight" in own:
        return tensors, ()
    head, rest = read_head(own, weight.shape[1]), {k: t for k, t in tensors.items() if not k.startswith("classifier.")}
    if head.norm is not None or "head.weight" not in head.tensors:
        return rest, (
            "The classifier is more than one linear layer, which its config can't say: its classes are left out.",
        )
    return rest | {key.replace("head.", "classifier.", 1): t for key, t in head.tensors.items()}, ()


def _take_labels(
    settings: dict[str, Any], tensors: dict[str, Tensor], name: str
) -> tuple[list[str] | None, tuple[str, ...]]:
    """The names of the classes, taken out of the settings, whose number of labels becomes that of the weights."""
    labels = settings.pop("id2label", None)
    settings.pop("label2id", None)
    for group in settings.values():  # a text or vision half: transformers would make names for all its labels
        if isinstance(group, dict):
            group.pop("num_labels", None)
    counts = [len(t) for key, t in tensors.items() if re.fullmatch(r"(cls_)?classifier\.weight", key) and t.ndim == 2]
    said = settings.pop("num_labels", None)
    if not counts:
        return None, ()
    named = len(labels) if isinstance(labels, (dict, list)) and labels else said
    if isinstance(named, int) and named != counts[0]:
        raise CheckpointError(
            f"{name}: id2label in config.json names {named} classes, the classifier in the weights has {counts[0]}: "
            "name them all in label order."
        )
    settings["num_labels"] = counts[0]
    if counts[0] == 1 and settings.get("problem_type") == "single_label_classification":
        del settings["problem_type"]  # which transformers wrote before it refused it: one output is a number
    return name_classes(labels, counts[0])


def fill(cls: Any, config: Any, tensors: dict[str, Tensor], file: str) -> tuple[nn.Module, tuple[str, ...]]:
    """A module of that class with these weights, and notes on those left out; CheckpointError where they don't fit."""
    floats = {key: t.to(torch.float32, copy=True) if t.is_floating_point() else t for key, t in tensors.items()}
    for key, tensor in floats.items():
        check_finite(tensor, key, file)
    try:
        with _quiet():
            check_filled(measure(lambda: cls._from_config(config), file), tensors.values(), file)
            module, report = cls.from_pretrained(
                None,
                config=config,
                state_dict=floats,  # not tied to the file
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are named below
                attn_implementation="sdpa",
            )
    except (RuntimeError, ValueError, TypeError, AssertionError, ZeroDivisionError, AttributeError) as error:
        raise CheckpointError(f"The weights in {file} don't fit its config.json: {first_line(error)}.") from error
    if misshapen := sorted(report["mismatched_keys"]):
        key, got, expected = misshapen[0]
        raise CheckpointError(
            f"The weights in {file} don't fit its config.json: {key} has shape {tuple(got)}, not {tuple(expected)}."
        )
    # A backbone saved without its pooler gets a random one, which no token and no map depends on.
    missing = sorted(key for key in report["missing_keys"] if "pooler" not in key)
    if missing:
        raise CheckpointError(f"{file}: the tensor {missing[0]} is missing, so the model isn't complete.")
    left_out = sorted(report["unexpected_keys"])
    inside = (key for key in left_out if BACKBONE_KEY.match(key))
    check_left_out(inside, module, file, "its config.json doesn't describe it")
    return module, left_out_note(left_out)


@contextmanager
def _quiet() -> Iterator[None]:
    """transformers' own table about tensors is said in one sentence here, and doesn't reach the console."""
    logger = logging.getLogger("transformers")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def wrap_transformers(
    module: nn.Module,
    source: str,
    name: str | None = None,
    notes: tuple[str, ...] = (),
    processor: Processor = NO_PROCESSOR,
    prefix_tokens: tuple[str, ...] | None = None,
) -> Model:
    """A transformers module as Model; processor: what its folder says of pixels."""
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
    oblong = _oblong(config)
    if oblong:
        options = tuple(name for name in family.options if name != "interpolate_pos_encoding")
        adapter = replace(adapter, options=options, fixed_size=oblong)
        _check_oblong(adapter, module, oblong, name or source)
    backbone = getattr(anyway, adapter.base) if adapter.base else anyway
    mean, std = processor.normalisation(family.pixels)
    found = processor.geometry(token_layout.patch_side(config.patch_size))
    geometry = _geometry(config, processor, found, oblong)
    return Model(
        name=name or source.removeprefix("hf:"),
        source=ModelSource(source),
        module=module,
        adapter=adapter,
        patch_size=token_layout.patch_side(config.patch_size),
        depth=config.num_hidden_layers,
        num_heads=config.num_attention_heads,
        width=config.hidden_size,
        prefix_tokens=prefix_tokens or token_layout.prefix_tokens(backbone.embeddings),
        class_names=_class_names(anyway) if classifies else None,
        outputs=meaning(anyway.config.problem_type, anyway.config.num_labels) if classifies else "classes",
        input_size=min(oblong or (geometry.input if geometry else (_input_size(config, processor),))),
        mean=mean,
        std=std,
        interpolation=processor.interpolation,
        geometry=geometry,
        notes=(*notes, *processor.notes, *processor.difference_note(found if geometry else None, family.pixels)),
    )


def _geometry(
    config: Any, processor: Processor, found: Geometry | None, oblong: tuple[int, int] | None
) -> Geometry | None:
    """How the processor fits photos, where what was found gives the shape that the model takes."""
    if found is None or (found.input != oblong if oblong else found.input[0] != found.input[1]):
        return None
    # At another size than its class's default the same is done in proportion.
    return found if processor.says_size or oblong else found.at(_input_size(config, processor))


def _input_size(config: Any, processor: Processor) -> int:
    """What the processor resizes to, else what the configuration was trained at."""
    patch, size = token_layout.patch_side(config.patch_size), processor.short_side
    if size is None or size % patch:
        size = config.image_size if isinstance(config.image_size, int) else min(config.image_size)
    return size - size % patch


def _class_names(module: Any) -> list[str] | None:
    """What the folder calls its classes, else what the module's own configuration does."""
    config = module.config
    return getattr(module, "class_names", None) or name_classes(dict(config.id2label or {}), config.num_labels)[0]


def _oblong(config: Any) -> tuple[int, int] | None:
    """(height, width) in pixels of a model with positions of an oblong grid, which transformers can't interpolate."""
    size = config.image_size
    if isinstance(size, int) or len(size) != 2 or size[0] == size[1] or not hasattr(config, "hidden_size"):
        return None
    return None if config.model_type == "dinov3_vit" else (int(size[0]), int(size[1]))


@torch.no_grad()
def _check_oblong(adapter: TransformersAdapter, module: nn.Module, size: tuple[int, int], name: str) -> None:
    """Raise UnsupportedModelError where transformers can't compute the model at its own, oblong size."""
    try:
        adapter.forward(module, torch.zeros(1, 3, *size))
    except (RuntimeError, ValueError, TypeError) as error:
        raise UnsupportedModelError(
            f"{name} takes {size[1]}x{size[0]} pixels, which transformers itself can't compute for this family: "
            "give a model of square images."
        ) from error
