"""timm's VisionTransformer written out in float64, with or without balanced gradients: a reference for attributions."""

import copy
import math
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from explorer.models.backbone import Model


@dataclass
class Pass:
    """Everything that one explicit pass made, in the graph of its logits."""

    streams: list[Tensor] = field(default_factory=list)  # "token width" entering each layer, then after the last
    normed: list[Tensor] = field(default_factory=list)  # after each layer's first norm
    patterns: list[Tensor] = field(default_factory=list)  # "head query key"
    values: list[Tensor] = field(default_factory=list)  # "head token dim"
    mlps: list[Tensor] = field(default_factory=list)  # "token width", what each MLP adds
    tokens: Tensor = field(default_factory=Tensor)
    logits: Tensor = field(default_factory=Tensor)


def double(model: Model) -> Any:
    """The model's module in float64, a copy."""
    return copy.deepcopy(model.module).double()


def run(module: Any, pixels: Tensor, balanced: bool) -> Pass:
    """pixels "1 3 height width" through a VisionTransformer in float64."""
    x = module.norm_pre(module._pos_embed(module.patch_embed(pixels)))[0]
    return run_tokens(module, x, balanced)


def run_tokens(module: Any, x: Tensor, balanced: bool) -> Pass:
    """The same from the tokens that enter layer 0, "token width"."""
    made = Pass(streams=[x if x.requires_grad else x.requires_grad_()])
    for block in module.blocks:
        x = x + _scaled(block.ls1, attention(block.attn, norm(block.norm1, x, balanced, made.normed), balanced, made))
        made.mlps.append(_scaled(block.ls2, mlp(block.mlp, norm(block.norm2, x, balanced), balanced)))
        x = x + made.mlps[-1]
        made.streams.append(x)
    made.tokens = norm(module.norm, x, balanced)
    made.logits = classify(module, made.tokens, balanced)
    return made


def norm(layer: Any, x: Tensor, balanced: bool, kept: list[Tensor] | None = None) -> Tensor:
    if isinstance(layer, nn.Identity):
        return x
    centred = x - x.mean(-1, keepdim=True)
    deviation = (centred.square().mean(-1, keepdim=True) + layer.eps).sqrt()
    out = centred / (deviation.detach() if balanced else deviation) * layer.weight + layer.bias
    if kept is not None:
        kept.append(out)
    return out


def attention(layer: Any, x: Tensor, balanced: bool, made: Pass) -> Tensor:
    q, k, v = layer.qkv(x).unflatten(1, (3, layer.num_heads, -1)).permute(1, 2, 0, 3)
    pattern = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1)
    pattern = pattern.detach().requires_grad_() if balanced else pattern
    made.patterns.append(pattern)
    made.values.append(v)
    return layer.proj((pattern @ v).transpose(0, 1).flatten(1))


def mlp(layer: Any, x: Tensor, balanced: bool) -> Tensor:
    hidden = layer.fc1(x)
    gate = (1 + torch.erf(hidden / math.sqrt(2))) / 2
    return layer.fc2(hidden * (gate.detach() if balanced else gate))


def classify(module: Any, tokens: Tensor, balanced: bool) -> Tensor:
    """The class logits of normed tokens, for the poolings token, avg and map."""
    if module.global_pool == "token":
        pooled = tokens[0]
    elif module.global_pool == "avg":
        pooled = tokens[module.num_prefix_tokens :].mean(0)
    else:
        pooled = latent(module.attn_pool, tokens[module.num_prefix_tokens :], balanced)[1]
    return module.head(norm(module.fc_norm, pooled, balanced))


def latent(pool: Any, tokens: Tensor, balanced: bool) -> tuple[Tensor, Tensor]:
    """timm's attention pooling with one latent query: its pattern "head 1 token" and the vector that it makes."""
    q = pool.q(pool.latent[0]).unflatten(1, (pool.num_heads, -1)).transpose(0, 1)
    k, v = pool.kv(tokens).unflatten(1, (2, pool.num_heads, -1)).permute(1, 2, 0, 3)
    pattern = (q @ k.mT * pool.scale).softmax(-1)
    pattern = pattern.detach().requires_grad_() if balanced else pattern
    x = pool.proj((pattern @ v).transpose(0, 1).flatten(1))
    x = x + mlp(pool.mlp, norm(pool.norm, x, balanced), balanced)
    return pattern, x[0]


def _scaled(scale: Any, x: Tensor) -> Tensor:
    return x if isinstance(scale, nn.Identity) else x * scale.gamma


def with_biases(model: Model, seed: int = 0) -> Model:
    """The model with random biases, norms and layer scales, which start as 0 and 1."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.module.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def pixels_of(model: Model, image: Image.Image) -> Tensor:
    return model.preprocess(image).double()


def similarity(a: Tensor, b: Tensor) -> Tensor:
    return F.cosine_similarity(a, b, dim=0)
