"""Key names of other projects, turned into timm's: each dialect is recognised by the name of its patch embedding."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from explorer.errors import CheckpointError

Tensors = dict[str, Tensor]
Rules = tuple[tuple[str, str], ...]  # regular expression of a key, its replacement
# Parts of keys that only timm's relatives of VisionTransformer have (EVA, BEiT, rotary and relative positions).
RELATIVES = (".relative_position_bias_table", ".rel_pos.", ".q_bias", ".fc1_g.", ".q_proj.", "rope.")


@dataclass(frozen=True)
class Dialect:
    """A project's key names: its patch embedding, the renaming to timm's, and its LayerNorm epsilon."""

    name: str
    anchor: str  # key of the patch embedding's weight
    convert: Callable[[Tensors], Tensors]
    epsilon: float | None = None  # None: timm's


def rename(tensors: Tensors, rules: Rules) -> Tensors:
    """Each key by the first rule (regular expression, replacement) that matches it whole; other keys as they are."""
    renamed = {}
    for key, tensor in tensors.items():
        for pattern, replacement in rules:
            if re.fullmatch(pattern, key):
                key = re.sub(pattern, replacement, key)
                break
        renamed[key] = tensor
    return renamed


def _from_timm(tensors: Tensors) -> Tensors:
    """timm, DINO, DeiT and MAE as they are; the chunked blocks, registers and SwiGLU names of DINOv2 and 3 turned."""
    if any(re.match(r"blocks\.\d+\.\d+\.", key) for key in tensors):
        tensors = {re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", key): value for key, value in tensors.items()}
    tensors = rename(
        tensors,
        (
            (r"(blocks\.\d+\.mlp)\.w12\.(weight|bias)", r"\1.fc1.\2"),
            (r"(blocks\.\d+\.mlp)\.w3\.(weight|bias)", r"\1.fc2.\2"),
        ),
    )
    if plain(tensors):  # DeiT III's own files; EVA and BEiT keep these names
        tensors = rename(tensors, ((r"(blocks\.\d+)\.gamma_([12])", r"\1.ls\2.gamma"),))
    if "storage_tokens" in tensors:
        return _from_dinov3(tensors)
    if "register_tokens" in tensors:
        # DINOv2 adds cls its own position before it concatenates registers, which have none.
        position = tensors["pos_embed"]
        tensors["cls_token"] = tensors["cls_token"] + position[:, :1]
        tensors["pos_embed"] = position[:, 1:]
        tensors["reg_token"] = tensors.pop("register_tokens")
    return tensors


def plain(tensors: Tensors) -> bool:
    """Whether timm's VisionTransformer itself has such keys, not one of its relatives."""
    return "pos_embed" in tensors and not any(part in key for key in tensors for part in RELATIVES)


def _from_dinov3(tensors: Tensors) -> Tensors:
    """timm computes the rotary periods, and has no biases where they are zero, as in most, nor those of k, masked."""
    tensors = rename(
        {key: tensor for key, tensor in tensors.items() if not key.endswith((".periods", ".bias_mask"))},
        ((r"storage_tokens", "reg_token"), (r"(blocks\.\d+)\.ls([12])\.gamma", r"\1.gamma_\2")),
    )
    biases = {key: tensors.pop(key) for key in [*tensors] if key.endswith("attn.qkv.bias")}
    if any(bias.any() for bias in biases.values()):
        for key, bias in biases.items():
            tensors[key.replace("qkv.bias", "q_bias")], _, tensors[key.replace("qkv.bias", "v_bias")] = bias.chunk(3)
    return tensors


def _from_torchvision(tensors: Tensors) -> Tensors:
    layer = r"encoder\.layers\.encoder_layer_(\d+)"
    return rename(
        tensors,
        (
            (r"class_token", "cls_token"),
            (r"encoder\.pos_embedding", "pos_embed"),
            (r"conv_proj\.(.+)", r"patch_embed.proj.\1"),
            (layer + r"\.ln_([12])\.(.+)", r"blocks.\1.norm\2.\3"),
            (layer + r"\.self_attention\.in_proj_(.+)", r"blocks.\1.attn.qkv.\2"),
            (layer + r"\.self_attention\.out_proj\.(.+)", r"blocks.\1.attn.proj.\2"),
            (layer + r"\.mlp\.(?:0|linear_1)\.(.+)", r"blocks.\1.mlp.fc1.\2"),
            (layer + r"\.mlp\.(?:3|linear_2)\.(.+)", r"blocks.\1.mlp.fc2.\2"),
            (r"encoder\.ln\.(.+)", r"norm.\1"),
            (r"heads\.head\.(.+)", r"head.\1"),
        ),
    )


def _from_sovit(tensors: Tensors) -> Tensors:
    layer = r"transformer\.layers\.(\d+)"
    return rename(
        tensors,
        (
            (r"pos_embedding", "pos_embed"),
            (r"patches\.patch\.(.+)", r"patch_embed.proj.\1"),
            (layer + r"\.0\.norm\.(.+)", r"blocks.\1.norm1.\2"),
            (layer + r"\.0\.fn\.qkv\.(.+)", r"blocks.\1.attn.qkv.\2"),
            (layer + r"\.0\.fn\.out\.0\.(.+)", r"blocks.\1.attn.proj.\2"),
            (layer + r"\.1\.norm\.(.+)", r"blocks.\1.norm2.\2"),
            (layer + r"\.1\.fn\.mlp_net\.0\.(.+)", r"blocks.\1.mlp.fc1.\2"),
            (layer + r"\.1\.fn\.mlp_net\.3\.(.+)", r"blocks.\1.mlp.fc2.\2"),
            (r"ln\.(.+)", r"norm.\1"),
            (r"mlp_head\.(.+)", r"head.\1"),
        ),
    )


def _from_transformers(tensors: Tensors) -> Tensors:
    """ViT, DeiT and Dinov2 of transformers, in the key names of its releases before and since 5."""
    layer = r"(?:encoder\.)?layers?\.(\d+)"
    attention = layer + r"\.attention\.(?:attention\.)?"
    renamed = rename(
        tensors,
        (
            (r"embeddings\.(cls_token|mask_token)", r"\1"),
            (r"embeddings\.distillation_token", "dist_token"),
            (r"embeddings\.register_tokens", "register_tokens"),
            (r"embeddings\.position_embeddings", "pos_embed"),
            (r"embeddings\.patch_embeddings\.projection\.(.+)", r"patch_embed.proj.\1"),
            (attention + r"(?:query|q_proj)\.(.+)", r"blocks.\1.attn.q.\2"),
            (attention + r"(?:key|k_proj)\.(.+)", r"blocks.\1.attn.k.\2"),
            (attention + r"(?:value|v_proj)\.(.+)", r"blocks.\1.attn.v.\2"),
            (layer + r"\.attention\.(?:output\.dense|o_proj)\.(.+)", r"blocks.\1.attn.proj.\2"),
            (layer + r"\.(?:layernorm_before|norm1)\.(.+)", r"blocks.\1.norm1.\2"),
            (layer + r"\.(?:layernorm_after|norm2)\.(.+)", r"blocks.\1.norm2.\2"),
            (layer + r"\.(?:intermediate\.dense|mlp\.fc1|mlp\.weights_in)\.(.+)", r"blocks.\1.mlp.fc1.\2"),
            (layer + r"\.(?:output\.dense|mlp\.fc2|mlp\.weights_out)\.(.+)", r"blocks.\1.mlp.fc2.\2"),
            (layer + r"\.layer_scale([12])\.lambda1", r"blocks.\1.ls\2.gamma"),
            (r"layernorm\.(.+)", r"norm.\1"),
        ),
    )
    return _from_timm(_join_qkv(renamed))


def _join_qkv(tensors: Tensors) -> Tensors:
    """blocks.N.attn.q, k and v as the one qkv that timm keeps."""
    joined = dict(tensors)
    for key in tensors:
        match = re.fullmatch(r"(blocks\.\d+\.attn)\.q\.(weight|bias)", key)
        if not match:
            continue
        names = [f"{match[1]}.{part}.{match[2]}" for part in "qkv"]
        missing = [name for name in names if name not in tensors]
        if missing:
            raise CheckpointError(f"The tensor {missing[0]} is missing: q, k and v are needed in every layer.")
        joined[f"{match[1]}.qkv.{match[2]}"] = torch.cat([joined.pop(name) for name in names])
    return joined


DIALECTS = (
    Dialect("timm", "patch_embed.proj.weight", _from_timm),
    Dialect("torchvision", "conv_proj.weight", _from_torchvision),
    Dialect("sovit-123/vision_transformers", "patches.patch.weight", _from_sovit),
    Dialect("transformers", "embeddings.patch_embeddings.projection.weight", _from_transformers, epsilon=1e-12),
)
