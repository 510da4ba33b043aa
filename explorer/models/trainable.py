"""A trainable copy of any loaded model, as one of timm's registered architectures, which timm can save and reopen."""

import copy
from typing import Any

import timm
import torch
from timm.layers.mlp import GluMlp
from torch import nn

from explorer.errors import CheckpointError, PlanError
from explorer.models.adapters import TransformersAdapter
from explorer.models.backbone import Model
from explorer.models.formats.architecture import TIMM_EPSILON, Said, architecture_of
from explorer.models.formats.dialects import Tensors
from explorer.models.formats.finding import find_backbone
from explorer.models.formats.fitting import fit, floats
from explorer.models.formats.heads import read_head
from explorer.models.formats.reading import Contents
from explorer.models.formats.to_timm import timm_form

# Any plain ViT is one of these with other numbers; a packed SwiGLU can't be named in a config, so a model brings it.
PLAIN, GATED, DISTILLED = "vit_base_patch16_224", "vit_giant_patch14_dinov2", "deit_base_distilled_patch16_224"
MODULES = {"QuickGELU": "quick_gelu", "GELUTanh": "gelu_tanh", "SiLU": "silu", "ReLU": "relu"}


def trainable_copy(model: Model) -> nn.Module:
    """A private float32 copy of the model's module under a name of timm's registry.

    timm's own models are copied as they are. Bare state dicts and models of transformers become the timm model of the
    same arithmetic; its LayerNorm epsilon is that of timm. Raises PlanError where there is none.
    """
    module: Any = model.module
    architecture = (getattr(module, "pretrained_cfg", None) or {}).get("architecture")
    if architecture and timm.is_model(architecture):
        return copy.deepcopy(module).float()
    try:
        return _rebuild(model)
    except CheckpointError as error:
        raise PlanError(
            f"{model.name} can't be fine-tuned: it has no form that both timm and transformers open ({error}) "
            "Use the same model from timm, as timm:NAME."
        ) from error


def _rebuild(model: Model) -> nn.Module:
    adapter = model.adapter
    form = timm_form(model.module, adapter.base) if isinstance(adapter, TransformersAdapter) else None
    name, settings, tensors = form or _plain_form(model)
    module: Any = timm.create_model(name, **settings)
    module.load_state_dict(fit(tensors, module, model.name)[0])
    pixels = {"mean": tuple(model.mean), "std": tuple(model.std), "interpolation": model.interpolation}
    module.pretrained_cfg.update({"tag": None, "license": None, **pixels})
    _check_same(model, module)
    return module


def _plain_form(model: Model) -> tuple[str, dict[str, Any], Tensors]:
    """Architecture, settings and tensors of a timm VisionTransformer, read off the module's own tensors."""
    backbone = find_backbone(Contents(dict(model.module.state_dict())), model.name)
    tensors = read_head(floats(backbone.dialect.convert(backbone.tensors)), model.width).tensors
    head = tensors.get("head.weight")
    if head is not None and head.shape[1] != model.width:  # DINOv2's classifier of transformers reads two vectors
        tensors = {key: value for key, value in tensors.items() if not key.startswith("head.")}
    grid = getattr(getattr(model.module, "patch_embed", None), "grid_size", None)
    gated = any(isinstance(part, GluMlp) for part in model.module.modules())
    said = Said(model.num_heads, grid, TIMM_EPSILON, "silu" if gated else _activation(model), _pooling(model))
    architecture = architecture_of(tensors, said)
    settings = {key: value for key, value in architecture.settings.items() if key not in ("norm_layer", "mlp_layer")}
    name = GATED if "mlp_layer" in architecture.settings else DISTILLED if architecture.distilled else PLAIN
    return name, settings, tensors


def _activation(model: Model) -> str:
    """timm's name of the MLP's activation: what the config says, or the class of the module's own."""
    config = getattr(model.module, "config", None)
    if config is not None:
        return getattr(config, "hidden_act", "gelu")
    names = {type(part).__name__ for part in model.module.modules()}
    return next((name for kind, name in MODULES.items() if kind in names), "gelu")


def _pooling(model: Model) -> str | None:
    """What a timm module's classifier reads."""
    return getattr(model.module, "global_pool", None)


@torch.no_grad()
def _check_same(model: Model, module: Any) -> None:
    """Raise PlanError where the rebuilt model gives other tokens: a key that fits isn't yet the same arithmetic."""
    pixels = torch.randn(1, 3, *module.patch_embed.img_size, generator=torch.Generator().manual_seed(0))
    expected = model.forward(pixels.to(model.device))[0].cpu()
    got = module.eval().forward_features(pixels)
    if got.shape != expected.shape or float((got - expected).abs().max() / expected.abs().max()) > 0.01:
        raise PlanError(f"{model.name} can't be fine-tuned: turned into a timm model it computes something else.")
