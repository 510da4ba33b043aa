"""The VisionTransformer that a state dict in timm's names belongs to, recognised by its keys and shapes alone."""

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
from explorer.models.facts import HEADS_UNTOLD

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
# Widths whose published models have other heads: So400m, ViT-H, g, G, e and EVA-CLIP E, InternViT-6B.
PUBLISHED_HEADS = {1152: 16, 1280: 16, 1408: 16, 1664: 16, 1792: 16, 3200: 25}
LARGEST_BY_RULE = 1024  # the width up to which nearly all models have 64 per head
# (width, depth) of ViT-Ti, S, B, L, H, g, G and So400m, whose published models all have GELU, 1e-6 and cls.
PUBLISHED_SHAPES = frozenset(
    {(192, 12), (384, 12), (768, 12), (1024, 24), (1280, 32), (1408, 40), (1664, 48), (1152, 27)}
)
# Sides in pixels that published models were trained at: a square grid of these is no guess.
PUBLISHED_SIDES = frozenset({224, 240, 256, 288, 320, 336, 378, 384, 392, 448, 480, 504, 512, 518, 560, 592})
TIMM_EPSILON, CLIP_EPSILON = 1e-6, 1e-5
ACTIVATIONS = {"quickgelu": "quick_gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"}  # by timm's names
CLIP_ASKED = (
    "The file is the image half of a CLIP and doesn't say whether its activation is QuickGELU, as in OpenAI's own "
    "weights, or GELU: say with arch, vit_base_patch16_clip_quickgelu_224 or vit_base_patch16_clip_224."
)


@dataclass(frozen=True)
class Said:
    """What the caller, the file's settings or its project say of a model that shapes don't; None: unknown.

    grid: (rows, cols). activation, pooling: by timm's names.
    """

    num_heads: int | None = None
    grid: tuple[int, int] | None = None
    epsilon: float | None = None
    activation: str | None = None
    pooling: str | None = None


@dataclass(frozen=True)
class Architecture:
    """Keyword arguments of timm's VisionTransformer, and one sentence for each that had to be assumed."""

    settings: dict[str, Any]
    distilled: bool
    assumed: tuple[str, ...]


def architecture_of(tensors: dict[str, Tensor], said: Said) -> Architecture:
    """Patch, width, depth, tokens and options from keys and shapes; the rest from what is said.

    What nobody says is what all published models of these shapes have, else assumed with a sentence each, else asked
    for with UntoldError.
    """
    _check_axes(tensors)
    _check_blocks(tensors)
    patch = tensors["patch_embed.proj.weight"]
    if patch.shape[1] != 3 or patch.shape[2] != patch.shape[3]:
        raise CheckpointError(
            f"patch_embed.proj.weight has shape {tuple(patch.shape)}; an RGB model has (width, 3, patch, patch)."
        )
    width, patch_size = patch.shape[0], patch.shape[-1]
    depth = _depth(tensors)
    if not {"norm.weight", "fc_norm.weight"} & tensors.keys():
        raise UntoldError("The tensor norm.weight is missing: if its architecture has none, name that with arch.")
    parts = {key.split(".", 2)[-1] for key in tensors if key.startswith("blocks.")}  # of any block
    assumed: list[str] = []
    known = (width, depth) in PUBLISHED_SHAPES
    mlp = _mlp(tensors, width)
    settings: dict[str, Any] = {
        "patch_size": patch_size,
        "embed_dim": width,
        "depth": depth,
        "num_heads": _heads(tensors, width, "mlp_layer" in mlp, said.num_heads, assumed),
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
        **mlp,
        **_positions(tensors, patch_size, said.grid, assumed),
    }
    settings["act_layer"] = _activation(tensors, settings, said.activation, known, assumed)
    settings |= _pooling(tensors, said.pooling, known, assumed)
    if (epsilon := _epsilon(settings, said.epsilon, known, assumed)) != TIMM_EPSILON:
        settings["norm_layer"] = partial(LayerNorm, eps=epsilon)
    return Architecture(settings, "dist_token" in tensors, tuple(assumed))


def _check_axes(tensors: dict[str, Tensor]) -> None:
    for key, axes in AXES.items():
        if key in tensors and (tensors[key].ndim != axes or tensors[key].numel() == 0):
            raise CheckpointError(
                f"{key} has shape {tuple(tensors[key].shape)}, expected {axes} axes, none of them empty."
            )


def _check_blocks(tensors: dict[str, Tensor]) -> None:
    """Raise UntoldError where blocks of another order of norms have these very keys."""
    keys = {"cls_token", "reg_token", "blocks.0.attn.qkv.bias", "blocks.0.ls1.gamma", "attn_pool.latent"}
    if "fc_norm.weight" in tensors and not keys & tensors.keys():
        raise UntoldError(
            "Whether norms stand before or behind attention and MLP can't be told from these tensors: say with arch, "
            "vit_base_patch16_rpn_224 where they stand behind."
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


def _heads(tensors: dict[str, Tensor], width: int, gated: bool, num_heads: int | None, assumed: list[str]) -> int:
    if num_heads is not None:
        if num_heads < 1 or width % num_heads:
            raise UntoldError(f"{num_heads} heads don't divide the width {width}: give num_heads that does.")
        return num_heads
    norm = tensors.get("blocks.0.attn.q_norm.weight")  # of the queries of one head
    if norm is not None and norm.ndim == 1 and len(norm) < width and width % len(norm) == 0:
        return width // len(norm)
    if width in PUBLISHED_HEADS:
        heads = PUBLISHED_HEADS[width]
        assumed.append(f"{HEADS_UNTOLD}: {heads} assumed, as published models of width {width} have.")
        return heads
    positions = tensors.get("pos_embed")
    if width == 384 and "cls_token" in tensors and positions is not None and not positions[:, 0].any():
        raise UntoldError(
            f"{HEADS_UNTOLD}: with computed positions, as here, MoCo v3's models of width {width} have 12 and others "
            "6; say it with num_heads."
        )
    if width == 768 and _averages_patches(tensors) and positions is not None and positions.shape[-2] == 196:
        raise UntoldError(
            f"{HEADS_UNTOLD}: of models like this vit_base_patch16_gap_224 has 16 and vit_base_patch16_siglip_gap_224 "
            "12; say it with num_heads."
        )
    if width > HEAD_WIDTH and width % HEAD_WIDTH:
        raise UntoldError(f"The width {width} isn't a multiple of {HEAD_WIDTH}: say how many heads with num_heads.")
    # DINOv2's giant and its descendants are as wide as SigLIP's, which have 16.
    if width > LARGEST_BY_RULE and not (width == 1536 and gated):
        raise UntoldError(f"{HEADS_UNTOLD}, and models of width {width} differ: say it with num_heads.")
    heads = max(1, width // HEAD_WIDTH)
    assumed.append(f"{HEADS_UNTOLD}: {heads} assumed (width {width} / {HEAD_WIDTH}).")
    return heads


def _mlp(tensors: dict[str, Tensor], width: int) -> dict[str, Any]:
    fc1, fc2 = tensors.get("blocks.0.mlp.fc1.weight"), tensors.get("blocks.0.mlp.fc2.weight")
    if fc1 is None or fc2 is None:
        name = "blocks.0.mlp.fc1.weight" if fc1 is None else "blocks.0.mlp.fc2.weight"
        raise CheckpointError(f"The tensor {name} is missing: the file holds no complete Vision Transformer.")
    if fc1.shape[0] == 2 * fc2.shape[1]:
        return {"mlp_ratio": fc1.shape[0] / width, "mlp_layer": SwiGLUPacked}
    return {"mlp_ratio": fc1.shape[0] / width}


def _activation(
    tensors: dict[str, Tensor], settings: dict[str, Any], said: str | None, known: bool, assumed: list[str]
) -> str:
    """timm's name of the MLP's activation, or of its gate's."""
    if said is not None:
        name = said.lower().rpartition(".")[2]
        return ACTIVATIONS.get(name, name)
    if "mlp_layer" in settings:
        assumed.append("The file doesn't say what gates its MLPs: SiLU assumed (SwiGLU), as in DINOv2.")
        return "silu"
    if settings["pre_norm"]:
        raise UntoldError(CLIP_ASKED)
    if "attn_pool.latent" in tensors or _averages_patches(tensors):
        return _siglip_activation(settings, assumed)
    if not known:
        assumed.append("The file doesn't say which activation its MLPs have: GELU assumed.")
    return "gelu"


def _averages_patches(tensors: dict[str, Tensor]) -> bool:
    """Whether all tokens are patches, normed before they are averaged: SigLIP without its attention pool, for one."""
    return not {"cls_token", "reg_token", "attn_pool.latent", "fc_norm.weight"} & tensors.keys()


def _siglip_activation(settings: dict[str, Any], assumed: list[str]) -> str:
    """GELU, or its tanh form, which SigLIP's models of these widths and patches have in timm."""
    width, patch_size, side = settings["embed_dim"], settings["patch_size"], max(settings["img_size"])
    tanh = (width, patch_size) in {(1152, 16), (768, 32), (1536, 16)} or (width, side) == (1024, 512)
    if (width, settings["depth"]) not in PUBLISHED_SHAPES | {(1536, 40)}:
        assumed.append("The file doesn't say which activation its MLPs have: GELU assumed.")
    return "gelu_tanh" if tanh else "gelu"


def _epsilon(settings: dict[str, Any], said: float | None, known: bool, assumed: list[str]) -> float:
    if said is not None:
        return said
    # CLIP has a norm before its first block, BEiT-3 norms inside of attention and MLP; both have 1e-5.
    epsilon = CLIP_EPSILON if settings["pre_norm"] or settings["scale_attn_norm"] else TIMM_EPSILON
    if not known and epsilon == TIMM_EPSILON:
        assumed.append(f"The file doesn't say the epsilon of its LayerNorms: {epsilon:g} assumed.")
    return epsilon


def _pooling(tensors: dict[str, Tensor], said: str | None, known: bool, assumed: list[str]) -> dict[str, Any]:
    """What the classifier reads. A norm after pooling, fc_norm, stands only where patches are averaged."""
    if "attn_pool.latent" in tensors:
        return {"global_pool": "map"}
    averaged = "fc_norm.weight" in tensors
    pool = "avg" if averaged or "cls_token" not in tensors else "token"
    if said in ("avg", "token", "max", "avgmax") and (said != "token" or "cls_token" in tensors):
        return {"global_pool": said, "fc_norm": averaged}
    if _classifies(tensors) and not known and "dist_token" not in tensors and (averaged or pool == "token"):
        read = "the mean of the patches" if averaged else "the cls token"
        assumed.append(f"The file doesn't say what its classifier reads: {read} assumed.")
    return {"global_pool": pool, "fc_norm": averaged}


def _positions(
    tensors: dict[str, Tensor], patch_size: int, grid: tuple[int, int] | None, assumed: list[str]
) -> dict[str, Any]:
    """Image size and whether prefix tokens have positions, from the length of pos_embed."""
    if "pos_embed" not in tensors:
        raise UntoldError("The tensor pos_embed is missing: name the timm architecture with arch.")
    length = tensors["pos_embed"].shape[-2]
    prefix = sum(tensors[key].shape[1] for key in ("cls_token", "dist_token", "reg_token") if key in tensors)
    grids = {patches: _square(patches) for patches in (length - prefix, length)}
    if grid is not None:
        grids = {patches: grid if grid[0] * grid[1] == patches else None for patches in grids}
    elif prefix and not grids[length - prefix] and grids[length] and not _positions_of_patches(tensors, patch_size):
        raise UntoldError(
            f"pos_embed has {length} positions, for {length} patches or for {length - prefix} and {prefix} more tokens:"
            f" say the rows and columns of patches with grid, such as {oblong(length - prefix)} or {oblong(length)}."
        )
    for patches, found in grids.items():
        if found:
            size = (found[0] * patch_size, found[1] * patch_size)
            if grid is None and size[0] not in PUBLISHED_SIDES:
                assumed.append(f"The file doesn't say its grid: {found[0]} x {found[1]} patches assumed, a square.")
            return {"img_size": size, "no_embed_class": patches == length and prefix > 0, "dynamic_img_size": True}
    given = "" if grid is None else f" not {grid[0]} x {grid[1]}"
    raise UntoldError(
        f"pos_embed has {length} positions for {prefix} prefix tokens and a grid that is no square{given}: "
        f"say its rows and columns with grid, such as {oblong(length - prefix)}."
    )


def _positions_of_patches(tensors: dict[str, Tensor], patch_size: int) -> bool:
    """Whether a square count of positions is known to be that of the patches alone: registers, DeiT 3 and FlexiViT."""
    side = patch_size * math.isqrt(tensors["pos_embed"].shape[-2])
    layer_scale = "blocks.0.ls1.gamma" in tensors
    return "reg_token" in tensors or (layer_scale and side in (224, 384)) or (patch_size, side) == (16, 240)


def oblong(patches: int) -> str:
    """The grid of that many patches that is nearest to a square, as a person would type it."""
    rows = next(rows for rows in range(math.isqrt(max(patches, 1)), 0, -1) if patches % rows == 0)
    return f"{rows}x{patches // rows}"


def _square(patches: int) -> tuple[int, int] | None:
    side = math.isqrt(max(patches, 0))
    return (side, side) if side and side * side == patches else None
