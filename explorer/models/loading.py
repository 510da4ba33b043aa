"""load_model: from a registry key, a timm or transformers id, a file or a folder to a Model in eval mode."""

from pathlib import Path

import timm
import torch
from safetensors.torch import load_file

from explorer.errors import ModelError
from explorer.models.adapters import TimmAdapter
from explorer.models.backbone import Model


def load_model(
    source: str | Path,
    device: str = "auto",
    pretrained: bool = True,
    arch: str | None = None,
    num_heads: int | None = None,
) -> Model:
    """source: a registry key, "timm:<id>", "hf:<org/name>", a weights file, or a folder written by timm or transformers."""
    source = str(source)
    if source.startswith("timm:"):
        module = timm.create_model(source.removeprefix("timm:"), pretrained=pretrained, dynamic_img_size=True)
    elif source.endswith(".safetensors") and arch:
        module = timm.create_model(arch, dynamic_img_size=True)
        module.load_state_dict(load_file(source))
    else:
        raise ModelError(f"{source} is no model that the explorer knows.")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return _wrap_timm(module.eval().requires_grad_(False).to(device), source)


def _wrap_timm(module, source: str) -> Model:
    config = module.pretrained_cfg
    registers = module.num_prefix_tokens - 1
    return Model(
        name=config.get("architecture") or source,
        source=source,
        module=module,
        adapter=TimmAdapter(classifies=module.num_classes > 0),
        patch_size=module.patch_embed.patch_size[0],
        depth=len(module.blocks),
        num_heads=module.blocks[0].attn.num_heads,
        width=module.embed_dim,
        prefix_tokens=("cls", *(f"reg{i + 1}" for i in range(registers)))[: module.num_prefix_tokens],
        class_names=None,
        input_size=config["input_size"][-1],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )
