"""timm's form of the families of transformers that aren't its plain VisionTransformer: CLIP, SigLIP, BEiT, DINOv3.

The one place that knows how a family differs: which registered architecture it is, with which settings, under which key
names. What comes out is an ordinary timm model, so cutting, caching, saving and exporting know nothing of families.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from explorer.errors import CheckpointError
from explorer.models.formats.dialects import Rules, Tensors, rename


@dataclass(frozen=True)
class Form:
    """A registered architecture of timm, its settings from a config of transformers, and its key names.

    rules: (regular expression, replacement) for whole keys. separate: q and v have a bias of their own, k has none.
    finish: what else the tensors need.
    """

    architecture: str
    settings: Callable[[Any], dict[str, Any]]
    rules: Rules
    separate: bool = False
    finish: Callable[[Tensors], Tensors] = dict


def timm_form(module: Any, base: str) -> tuple[str, dict[str, Any], Tensors] | None:
    """(architecture, its settings, tensors) of a transformers module; None where its family has no form of its own.

    base: attribute under which a classifier keeps its backbone, "" for a backbone. Only BEiT's classifier reads what
    its timm form pools, so only that one is kept.
    """
    config = getattr(module.config, "vision_config", module.config)
    form = FORMS.get(config.model_type)
    if form is None:
        return None
    backbone = getattr(module, base) if base else module
    tensors = {key: value.detach().float() for key, value in backbone.state_dict().items()}
    settings = {**_shape(config), **form.settings(config), "num_classes": 0}
    if base and form is BEIT:
        tensors |= {f"head.{key}": value for key, value in module.classifier.state_dict().items()}
        settings["num_classes"] = module.config.num_labels
    tensors = form.finish(_join(rename(tensors, form.rules), form.separate))
    return form.architecture, settings, tensors


def _shape(config: Any) -> dict[str, Any]:
    return {
        "img_size": config.image_size,
        "patch_size": config.patch_size,
        "embed_dim": config.hidden_size,
        "depth": config.num_hidden_layers,
        "num_heads": config.num_attention_heads,
        "mlp_ratio": config.intermediate_size / config.hidden_size,
    }


def _join(tensors: Tensors, separate: bool) -> Tensors:
    """blocks.N.attn.q, k and v as the one qkv that timm keeps, with one bias or one each for q and v."""
    joined = dict(tensors)
    for prefix in {match[1] for key in tensors if (match := re.fullmatch(r"(blocks\.\d+\.attn)\.q\.weight", key))}:
        joined[f"{prefix}.qkv.weight"] = torch.cat([joined.pop(f"{prefix}.{part}.weight") for part in "qkv"])
        biases = [joined.pop(f"{prefix}.{part}.bias", None) for part in "qkv"]
        if not separate:
            joined[f"{prefix}.qkv.bias"] = torch.cat([bias for bias in biases if bias is not None])
            continue
        if biases[1] is not None and bool(biases[1].any()):
            raise CheckpointError("its keys have a bias, which timm's form of it has not.")
        joined |= {
            f"{prefix}.{part}_bias": bias for part, bias in zip("qv", biases[::2], strict=True) if bias is not None
        }
    return joined


def _finish_clip(tensors: Tensors) -> Tensors:
    """Embeddings as "1 token width"."""
    tensors["pos_embed"] = tensors["pos_embed"][None]
    if "cls_token" in tensors:
        tensors["cls_token"] = tensors["cls_token"].view(1, 1, -1)
    return tensors


def _finish_siglip(tensors: Tensors) -> Tensors:
    """The attention pool's q apart from its k and v."""
    tensors = _finish_clip(tensors)
    for kind in ("weight", "bias"):
        packed = tensors.pop(f"attn_pool.in_proj_{kind}", None)
        if packed is not None:
            width = len(packed) // 3
            tensors |= {f"attn_pool.q.{kind}": packed[:width], f"attn_pool.kv.{kind}": packed[width:]}
    return tensors


LAYER = r"encoder\.layers\.(\d+)"
CLIP_RULES: Rules = (
    (r"embeddings\.class_embedding", "cls_token"),
    (r"embeddings\.patch_embedding\.(.+)", r"patch_embed.proj.\1"),
    (r"embeddings\.position_embedding\.weight", "pos_embed"),
    (LAYER + r"\.self_attn\.([qkv])_proj\.(.+)", r"blocks.\1.attn.\2.\3"),
    (LAYER + r"\.self_attn\.out_proj\.(.+)", r"blocks.\1.attn.proj.\2"),
    (LAYER + r"\.layer_norm([12])\.(.+)", r"blocks.\1.norm\2.\3"),
    (LAYER + r"\.(mlp\..+)", r"blocks.\1.\2"),
    (r"pre_layrnorm\.(.+)", r"norm_pre.\1"),
    (r"post_layernorm\.(.+)", r"norm.\1"),
)
SIGLIP_RULES: Rules = (
    (r"head\.probe", "attn_pool.latent"),
    (r"head\.attention\.out_proj\.(.+)", r"attn_pool.proj.\1"),
    (r"head\.attention\.(.+)", r"attn_pool.\1"),
    (r"head\.layernorm\.(.+)", r"attn_pool.norm.\1"),
    (r"head\.(mlp\..+)", r"attn_pool.\1"),
)
BEIT_LAYER = r"(?:encoder\.)?layers?\.(\d+)"
BEIT_RULES: Rules = (
    (r"embeddings\.cls_token", "cls_token"),
    (r"embeddings\.position_embeddings", "pos_embed"),
    (r"embeddings\.patch_embeddings\.projection\.(.+)", r"patch_embed.proj.\1"),
    (BEIT_LAYER + r"\.attention\.(?:attention\.)?(q|k|v)(?:_proj|uery|ey|alue)\.(.+)", r"blocks.\1.attn.\2.\3"),
    (BEIT_LAYER + r"\.attention\.(?:o_proj|output\.dense)\.(.+)", r"blocks.\1.attn.proj.\2"),
    (BEIT_LAYER + r"\..*(relative_position_bias_table)", r"blocks.\1.attn.\2"),
    (r".*\.(relative_position_bias_table)", r"rel_pos_bias.\1"),
    (BEIT_LAYER + r"\.layernorm_before\.(.+)", r"blocks.\1.norm1.\2"),
    (BEIT_LAYER + r"\.layernorm_after\.(.+)", r"blocks.\1.norm2.\2"),
    (BEIT_LAYER + r"\.(?:mlp\.fc1|intermediate\.dense)\.(.+)", r"blocks.\1.mlp.fc1.\2"),
    (BEIT_LAYER + r"\.(?:mlp\.fc2|output\.dense)\.(.+)", r"blocks.\1.mlp.fc2.\2"),
    (BEIT_LAYER + r"\.lambda_([12])", r"blocks.\1.gamma_\2"),
    (r"layernorm\.(.+)", r"norm.\1"),
    (r"pooler\.layernorm\.(.+)", r"fc_norm.\1"),
)
DINO_LAYER = r"(?:model\.)?layer\.(\d+)"
DINO_RULES: Rules = (
    (r"embeddings\.cls_token", "cls_token"),
    (r"embeddings\.register_tokens", "reg_token"),
    (r"embeddings\.patch_embeddings\.(.+)", r"patch_embed.proj.\1"),
    (DINO_LAYER + r"\.attention\.([qkv])_proj\.(.+)", r"blocks.\1.attn.\2.\3"),
    (DINO_LAYER + r"\.attention\.o_proj\.(.+)", r"blocks.\1.attn.proj.\2"),
    (DINO_LAYER + r"\.norm([12])\.(.+)", r"blocks.\1.norm\2.\3"),
    (DINO_LAYER + r"\.layer_scale([12])\.lambda1", r"blocks.\1.gamma_\2"),
    (DINO_LAYER + r"\.mlp\.down_proj\.(.+)", r"blocks.\1.mlp.fc2.\2"),
    (DINO_LAYER + r"\.mlp\.gate_proj\.(.+)", r"blocks.\1.mlp.fc1_g.\2"),
)


def _clip(config: Any) -> dict[str, Any]:
    return {"act_layer": config.hidden_act}


def _siglip(config: Any) -> dict[str, Any]:
    act = {"gelu_pytorch_tanh": "gelu_tanh"}.get(config.hidden_act, config.hidden_act)
    pooled = getattr(config, "vision_use_head", True)
    return {"act_layer": act, "global_pool": "map" if pooled else "avg", "fc_norm": False}


def _beit(config: Any) -> dict[str, Any]:
    return {
        "use_abs_pos_emb": config.use_absolute_position_embeddings,
        "use_rel_pos_bias": config.use_relative_position_bias,
        "use_shared_rel_pos_bias": config.use_shared_relative_position_bias,
        "init_values": config.layer_scale_init_value,  # 0 for none: timm overlooks None
        "global_pool": "avg" if config.use_mean_pooling else "token",
    }


def _dinov3(config: Any) -> dict[str, Any]:
    return {
        "qkv_bias": config.query_bias,
        "num_reg_tokens": config.num_register_tokens,
        "rope_temperature": config.rope_theta,
        "swiglu_mlp": config.use_gated_mlp,
        "swiglu_align_to": int(config.use_gated_mlp),  # of 1 changes no width, but keeps gate and value apart
        "global_pool": "token",
    }


def _finish_dinov3(tensors: Tensors) -> Tensors:
    """up_proj is fc1, or fc1_x where the MLP is gated."""
    gated = any(".fc1_g." in key for key in tensors)
    rule = (DINO_LAYER + r"\.mlp\.up_proj\.(.+)", rf"blocks.\1.mlp.{'fc1_x' if gated else 'fc1'}.\2")
    return rename(tensors, (rule,))


def _finish_beit(tensors: Tensors) -> Tensors:
    """A norm after mean pooling that begins as none, for backbones saved without their pooler."""
    width = tensors["cls_token"].shape[-1]
    return {"fc_norm.weight": torch.ones(width), "fc_norm.bias": torch.zeros(width), **tensors}


BEIT = Form("beit_base_patch16_224", _beit, BEIT_RULES, separate=True, finish=_finish_beit)
FORMS = {
    "clip_vision_model": Form("vit_base_patch16_clip_224", _clip, CLIP_RULES, finish=_finish_clip),
    "siglip_vision_model": Form(
        "vit_base_patch16_siglip_224", _siglip, CLIP_RULES + SIGLIP_RULES, finish=_finish_siglip
    ),
    "beit": BEIT,
    "data2vec-vision": BEIT,
    "dinov3_vit": Form("vit_small_patch16_dinov3", _dinov3, DINO_RULES, separate=True, finish=_finish_dinov3),
}
