"""The VisionTransformer that a state dict in timm's names belongs to, told from its keys and shapes alone."""

import math
import re
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

from timm.layers.mlp import SwiGLUPacked
from timm.layers.norm import LayerNorm
from torch import Tensor

from explorer.errors import CheckpointError, UntoldError

# How many axes the tensors have that tell an architecture; others are compared with the finished module.
AXES = {
    "patch_embed.proj.weight": 4,
    "pos_embed": 3,
    "cls_token": 3,
    "dist_token": 3,
    "reg_token": 3,
    "head.weight": 2,
    "blocks.0.mlp.fc1.weight": 2,
    "blocks.0.mlp.fc2.weight": 2,
}
HEAD_WIDTH = 64  # of every published plain ViT up to size L
HEADS_UNTOLD = "The file doesn't say how many heads"  # begins the note on an assumed number


@dataclass(frozen=True)
class Architecture:
    """Keyword arguments of timm's VisionTransformer, and what had to be assumed for them."""

    settings: dict[str, Any]
    distilled: bool
    assumed: tuple[str, ...]


def architecture_of(
    tensors: dict[str, Tensor], num_heads: int | None, grid: tuple[int, int] | None, epsilon: float | None
) -> Architecture:
    """Patch, width, depth, tokens and options from keys and shapes; heads from the caller, else width / 64."""
    _check_axes(tensors)
    patch = tensors["patch_embed.proj.weight"]
    if patch.shape[1] != 3 or patch.shape[2] != patch.shape[3]:
        raise CheckpointError(
            f"patch_embed.proj.weight has shape {tuple(patch.shape)}; an RGB model has (width, 3, patch, patch)."
        )
    width, patch_size = patch.shape[0], patch.shape[-1]
    depth = _depth(tensors)
    heads, assumed = _heads(width, num_heads)
    parts = {key.split(".", 2)[-1] for key in tensors if key.startswith("blocks.")}  # of any block
    settings: dict[str, Any] = {
        "patch_size": patch_size,
        "embed_dim": width,
        "depth": depth,
        "num_heads": heads,
        "num_classes": tensors["head.weight"].shape[0] if _classifies(tensors) else 0,
        "class_token": "cls_token" in tensors,
        "reg_tokens": tensors["reg_token"].shape[1] if "reg_token" in tensors else 0,
        "qkv_bias": "attn.qkv.bias" in parts,
        "qk_norm": "attn.q_norm.weight" in parts,
        "proj_bias": "attn.proj.bias" in parts,
        "init_values": 1.0 if "ls1.gamma" in parts else None,
        "pre_norm": "norm_pre.weight" in tensors,
        "scale_attn_norm": "attn.norm.weight" in parts,
        "scale_mlp_norm": "mlp.norm.weight" in parts,
        **_mlp(tensors, width),
        **_pooling(tensors),
        **_positions(tensors, patch_size, grid),
    }
    if epsilon is None and settings["pre_norm"]:
        epsilon = 1e-5  # models with a norm before the first block come from CLIP, which uses this
    if epsilon is not None:
        settings["norm_layer"] = partial(LayerNorm, eps=epsilon)
    return Architecture(settings, "dist_token" in tensors, assumed)


def _check_axes(tensors: dict[str, Tensor]) -> None:
    for key, axes in AXES.items():
        if key in tensors and (tensors[key].ndim != axes or tensors[key].numel() == 0):
            raise CheckpointError(
                f"{key} has shape {tuple(tensors[key].shape)}, expected {axes} axes, none of them empty."
            )


def _classifies(tensors: dict[str, Tensor]) -> bool:
    # timm averages the classifiers of cls and dist: with only one of them its logits would be other ones.
    return "head.weight" in tensors and ("dist_token" not in tensors or "head_dist.weight" in tensors)


def _depth(tensors: dict[str, Tensor]) -> int:
    layers = {int(match[1]) for key in tensors if (match := re.match(r"blocks\.(\d+)\.", key))}
    if not layers:
        raise CheckpointError("The file has a patch embedding but no blocks.0.…: it isn't a plain Vision Transformer.")
    missing = next(layer for layer in count() if layer not in layers)
    if missing < max(layers):
        raise CheckpointError(f"The tensor blocks.{missing}.norm1.weight is missing: a whole block isn't in the file.")
    return missing


def _heads(width: int, num_heads: int | None) -> tuple[int, tuple[str, ...]]:
    if num_heads is not None:
        if num_heads < 1 or width % num_heads:
            raise UntoldError(f"{num_heads} heads don't divide the width {width}: give num_heads that does.")
        return num_heads, ()
    heads = max(1, width // HEAD_WIDTH)
    if width > HEAD_WIDTH and width % HEAD_WIDTH:
        raise UntoldError(f"The width {width} is no multiple of {HEAD_WIDTH}: say how many heads with num_heads.")
    return heads, (f"{HEADS_UNTOLD}: {heads} assumed (width {width} / {HEAD_WIDTH}).",)


def _mlp(tensors: dict[str, Tensor], width: int) -> dict[str, Any]:
    fc1, fc2 = tensors.get("blocks.0.mlp.fc1.weight"), tensors.get("blocks.0.mlp.fc2.weight")
    if fc1 is None or fc2 is None:
        name = "blocks.0.mlp.fc1.weight" if fc1 is None else "blocks.0.mlp.fc2.weight"
        raise CheckpointError(f"The tensor {name} is missing: the file holds no complete Vision Transformer.")
    if fc1.shape[0] == 2 * fc2.shape[1]:
        return {"mlp_ratio": fc1.shape[0] / width, "mlp_layer": SwiGLUPacked}
    return {"mlp_ratio": fc1.shape[0] / width}


def _pooling(tensors: dict[str, Tensor]) -> dict[str, Any]:
    if "attn_pool.latent" in tensors:
        return {"global_pool": "map"}
    if "fc_norm.weight" in tensors:
        return {"global_pool": "avg", "fc_norm": True}
    return {"global_pool": "token" if "cls_token" in tensors else "avg", "fc_norm": False}


def _positions(tensors: dict[str, Tensor], patch_size: int, grid: tuple[int, int] | None) -> dict[str, Any]:
    """Image size and whether prefix tokens have positions, from the length of pos_embed."""
    if "pos_embed" not in tensors:
        raise UntoldError("The tensor pos_embed is missing: name the timm architecture with arch.")
    length = tensors["pos_embed"].shape[-2]
    prefix = sum(tensors[key].shape[1] for key in ("cls_token", "dist_token", "reg_token") if key in tensors)
    grids = {patches: _square(patches) for patches in (length - prefix, length)}
    if grid is not None:
        grids = {patches: grid if grid[0] * grid[1] == patches else None for patches in grids}
    for patches, found in grids.items():
        if found:
            size = (found[0] * patch_size, found[1] * patch_size)
            return {"img_size": size, "no_embed_class": patches == length and prefix > 0, "dynamic_img_size": True}
    given = "" if grid is None else f" not {grid[0]} x {grid[1]}"
    raise UntoldError(
        f"pos_embed has {length} positions for {prefix} prefix tokens and a grid that is no square{given}: "
        f"say its rows and columns with grid, such as {_oblong(length - prefix)}."
    )


def _oblong(patches: int) -> str:
    """The grid of that many patches that is nearest to a square, as a person would type it."""
    rows = next(rows for rows in range(math.isqrt(max(patches, 1)), 0, -1) if patches % rows == 0)
    return f"{rows}x{patches // rows}"


def _square(patches: int) -> tuple[int, int] | None:
    side = math.isqrt(max(patches, 0))
    return (side, side) if side and side * side == patches else None
