"""Key names of other projects, renamed to timm's: each dialect is recognised by the name of its patch embedding."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from explorer.errors import CheckpointError

Tensors = dict[str, Tensor]
Rules = tuple[tuple[str, str], ...]  # regular expression of a key, its replacement
# Parts of keys that only timm's relatives of VisionTransformer have (EVA, BEiT, rotary and relative positions, parallel
# blocks, hybrids).
RELATIVES = (
    *(".relative_position_bias_table", ".rel_pos.", ".q_bias", ".fc1_g.", ".q_proj.", "rope.", ".attns."),
    ".in_proj.",
    "patch_embed.backbone.",
)


@dataclass(frozen=True)
class Dialect:
    """A project's key names: its patch embedding, the renaming to timm's, and what its code computes.

    beside: a key that stands beside the patch embedding's, where that alone has a common name. epsilon, activation,
    pooling: None where the project's models differ or are timm's.
    """

    name: str
    anchor: str  # key of the patch embedding's weight
    convert: Callable[[Tensors], Tensors]
    beside: str | None = None
    epsilon: float | None = None
    activation: str | None = None
    pooling: str | None = None

    def marks(self, key: str, tensors: Tensors) -> bool:
        """Whether a patch embedding of that key is this project's."""
        return self.beside is None or key.removesuffix(self.anchor) + self.beside in tensors


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
            (r"(blocks\.\d+\.mlp)\.w1\.(weight|bias)", r"\1.fc1_g.\2"),
            (r"(blocks\.\d+\.mlp)\.w2\.(weight|bias)", r"\1.fc1_x.\2"),
            (r"(blocks\.\d+\.mlp)\.w3\.(weight|bias)", r"\1.fc2.\2"),
        ),
    )
    if plain(tensors):  # DeiT III's own files; EVA, BEiT and rotary ViTs keep these names
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


def is_hybrid(tensors: Tensors) -> bool:
    """Whether a convolutional network makes the patches, whose channels the projection reads."""
    return any(key.startswith("patch_embed.backbone.") for key in tensors)


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
            (r"heads\.(pre_logits\..+)", r"\1"),
            (r"heads\.(.+)", r"head.\1"),
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


_LAYER = r"(?:encoder\.)?layers?\.(\d+)"
_ATTENTION = _LAYER + r"\.attention\.(?:attention\.)?"
TRANSFORMERS_RULES = (
    (r"embeddings\.(cls_token|mask_token)", r"\1"),
    (r"embeddings\.distillation_token", "dist_token"),
    (r"embeddings\.register_tokens", "register_tokens"),
    (r"embeddings\.position_embeddings", "pos_embed"),
    (r"embeddings\.patch_embeddings\.projection\.(.+)", r"patch_embed.proj.\1"),
    (_ATTENTION + r"(?:query|q_proj)\.(.+)", r"blocks.\1.attn.q.\2"),
    (_ATTENTION + r"(?:key|k_proj)\.(.+)", r"blocks.\1.attn.k.\2"),
    (_ATTENTION + r"(?:value|v_proj)\.(.+)", r"blocks.\1.attn.v.\2"),
    (_LAYER + r"\.attention\.(?:output\.dense|o_proj)\.(.+)", r"blocks.\1.attn.proj.\2"),
    (_LAYER + r"\.(?:layernorm_before|norm1)\.(.+)", r"blocks.\1.norm1.\2"),
    (_LAYER + r"\.(?:layernorm_after|norm2)\.(.+)", r"blocks.\1.norm2.\2"),
    (_LAYER + r"\.(?:intermediate\.dense|mlp\.fc1|mlp\.weights_in)\.(.+)", r"blocks.\1.mlp.fc1.\2"),
    (_LAYER + r"\.(?:output\.dense|mlp\.fc2|mlp\.weights_out)\.(.+)", r"blocks.\1.mlp.fc2.\2"),
    (_LAYER + r"\.layer_scale([12])\.lambda1", r"blocks.\1.ls\2.gamma"),
    (r"layernorm\.(.+)", r"norm.\1"),
)


def _from_transformers(tensors: Tensors) -> Tensors:
    """ViT, DeiT and Dinov2 of transformers, in the key names of its releases before and since 5."""
    return _from_timm(_join_qkv(rename(tensors, TRANSFORMERS_RULES)))


def release_free(module: str) -> str:
    """A module's name that is the same whichever release of transformers wrote it."""
    inside = re.sub(r"^(vit|deit|beit|ijepa|dinov2\w*|data2vec_vision|model)\.", "", module)
    rules = ((pattern, replacement) for pattern, replacement in TRANSFORMERS_RULES if pattern.endswith("(.+)"))
    found = ((re.fullmatch(pattern, f"{inside}.weight"), replacement) for pattern, replacement in rules)
    return next((match.expand(replacement) for match, replacement in found if match), f"{inside}.weight")


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


def _from_clip(tensors: Tensors) -> Tensors:
    """The image half of OpenAI's CLIP and open_clip; its projection to text space is no classifier."""
    if any(key.startswith("attn_pool") for key in tensors):
        raise CheckpointError(
            "The file is the image half of a CoCa, which pools its tokens by attention before its last norm, and can't "
            "be shown: give a CLIP without attentional pooling."
        )
    layer = r"transformer\.resblocks\.(\d+)"
    renamed = rename(
        tensors,
        (
            (r"conv1\.(.+)", r"patch_embed.proj.\1"),
            (r"class_embedding", "cls_token"),
            (r"positional_embedding", "pos_embed"),
            (r"ln_pre\.(.+)", r"norm_pre.\1"),
            (r"ln_post\.(.+)", r"norm.\1"),
            (layer + r"\.ln_([12])\.(.+)", r"blocks.\1.norm\2.\3"),
            (layer + r"\.ls_([12])\.gamma", r"blocks.\1.ls\2.gamma"),
            (layer + r"\.attn\.in_proj_(.+)", r"blocks.\1.attn.qkv.\2"),
            (layer + r"\.attn\.out_proj\.(.+)", r"blocks.\1.attn.proj.\2"),
            (layer + r"\.mlp\.c_fc\.(.+)", r"blocks.\1.mlp.fc1.\2"),
            (layer + r"\.mlp\.c_proj\.(.+)", r"blocks.\1.mlp.fc2.\2"),
        ),
    )
    renamed["cls_token"] = renamed["cls_token"].reshape(1, 1, -1)
    renamed["pos_embed"] = renamed["pos_embed"][None]
    return renamed


def from_mae_pytorch(tensors: Tensors) -> Tensors:
    """pengzhiliang/MAE-pytorch and its like: biases of q and v alone, and sines for positions, which no file holds."""
    joined = dict(tensors)
    for key in [key for key in tensors if key.endswith(".attn.q_bias")]:
        if (other := key.replace("q_bias", "v_bias")) not in joined:
            raise CheckpointError(f"The tensor {other} is missing beside {key}.")
        q, v = joined.pop(key), joined.pop(other)
        joined[key.replace("q_bias", "qkv.bias")] = torch.cat([q, torch.zeros_like(q), v])
    return joined


def is_mae_pytorch(tensors: Tensors) -> bool:
    """Whether positions are sines that the model computes: neither cls token nor any positions in the file."""
    others = {"pos_embed", "cls_token", "reg_token", "blocks.0.gamma_1"}
    return (
        not others & tensors.keys()
        and "blocks.0.attn.q_bias" in tensors
        and not any(part in key for key in tensors for part in RELATIVES if part != ".q_bias")
    )


def sinusoids(count: int, width: int) -> Float[Tensor, "1 count width"]:
    """The fixed positions of MAE-pytorch, sin and cos of place / 10000^(2 (i // 2) / width)."""
    channel = torch.arange(width, dtype=torch.float64)
    angle = torch.arange(count, dtype=torch.float64)[:, None] / 10_000 ** (2 * (channel // 2) / width)
    return torch.where(channel % 2 == 0, angle.sin(), angle.cos())[None].float()


DIALECTS = (
    Dialect("timm", "patch_embed.proj.weight", _from_timm),
    Dialect("torchvision", "conv_proj.weight", _from_torchvision, epsilon=1e-6, activation="gelu", pooling="token"),
    Dialect("sovit-123/vision_transformers", "patches.patch.weight", _from_sovit),
    Dialect(
        "transformers", "embeddings.patch_embeddings.projection.weight", _from_transformers, epsilon=1e-12,
        pooling="token",
    ),
    Dialect("CLIP", "conv1.weight", _from_clip, beside="class_embedding", epsilon=1e-5, pooling="token"),
)  # fmt: skip
