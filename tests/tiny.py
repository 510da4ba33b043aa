"""Tiny random models and photos for tests: the real classes at depth 2 or 3, so that a test takes milliseconds."""

from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.models import save_for_hf
from timm.models.vision_transformer import VisionTransformer

from explorer.models.adapters import TimmAdapter
from explorer.models.backbone import Model
from explorer.models.source import ModelSource


def tiny_model(
    depth: int = 3, num_classes: int = 5, patch_size: int = 8, size: int = 64, seed: int = 0, **settings
) -> Model:
    """A timm VisionTransformer with random weights, sharp enough that its attention isn't flat."""
    torch.manual_seed(seed)
    module: Any = VisionTransformer(
        img_size=size, patch_size=patch_size, embed_dim=64, depth=depth, num_heads=4, num_classes=num_classes,
        dynamic_img_size=True, **settings,
    )  # fmt: skip
    with torch.no_grad():
        for block in module.blocks:
            block.attn.qkv.weight.mul_(8)
        if num_classes:
            module.head.weight.normal_(std=0.5)
    names = ("cls",) if module.has_class_token else ()
    return Model(
        name="tiny",
        source=ModelSource("tiny"),
        module=module.eval().requires_grad_(False),
        adapter=TimmAdapter(classifies=num_classes > 0),
        patch_size=patch_size,
        depth=depth,
        num_heads=4,
        width=64,
        prefix_tokens=(*names, *(f"reg{i + 1}" for i in range(module.num_reg_tokens))),
        class_names=["ant", "bee", "German shepherd", "shoe", "boot"][:num_classes] if num_classes else None,
        input_size=size,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )


def with_artefacts(model: Model, *patches: tuple[int, int]) -> Model:
    """The model with a huge position embedding at those patches of its 8 x 8: their token norms are outliers."""
    module: Any = model.module
    with torch.no_grad():
        for row, col in patches:
            module.pos_embed[0, -64 + 8 * row + col] += 50.0
    return model


def blocks_of(model: Model) -> Any:
    """The blocks of a timm model."""
    module: Any = model.module
    return module.blocks


def photo(width: int = 64, height: int = 64, seed: int = 0) -> Image.Image:
    """A smooth random picture."""
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def save_tiny(folder: Path, seed: int = 0, patch_size: int = 8, depth: int = 2) -> str:
    """A random model of three classes in timm's own folder format, which load_model opens; returns its path."""
    shape = {"img_size": 64, "patch_size": patch_size, "depth": depth}
    settings: dict[str, Any] = {**shape, "embed_dim": 64, "num_heads": 2}
    torch.manual_seed(seed)
    module: Any = timm.create_model("vit_tiny_patch16_224", num_classes=3, **settings)
    with torch.no_grad():
        for block in module.blocks:
            block.attn.qkv.weight.mul_(8)
    labels = ["ant", "bee", "crow"]
    save_for_hf(module, str(folder), model_config={"label_names": labels}, model_args=settings, safe_serialization=True)
    return str(folder)


def save_weights(folder: Path, name: str = "tiny.safetensors", **settings) -> Path:
    """A weights file of a tiny ViT with 8-pixel patches, 64 pixels per side, three layers of one head."""
    path = folder / name
    save_file(tiny_model(**settings).module.state_dict(), path)
    return path
