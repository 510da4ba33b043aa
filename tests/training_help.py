"""Small data sets and a small base model for the training tests."""

from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from timm.models import save_for_hf

from explorer.models.backbone import Model
from explorer.models.loading import load_model

COLOURS = {"blue": (40, 60, 200), "green": (40, 190, 60), "red": (200, 50, 40)}


def make_dataset(folder: Path, per_class: int = 12, classes: tuple[str, ...] = ("blue", "green", "red")) -> Path:
    """Class folders of noisy pictures of one colour each, hard enough that a random model needs some epochs."""
    draw = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            noise = draw.normal(COLOURS[name], 75, (40, 44, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(noise).save(folder / name / f"{number}.png")
    return folder


def make_base(folder: Path, **settings) -> Path:
    """A timm folder with a ViT of random weights: depth 3, width 32, 32 px."""
    torch.manual_seed(0)
    shape = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 2, "num_classes": 7}
    module = timm.create_model("vit_tiny_patch16_224", dynamic_img_size=True, **{**shape, **settings})
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    save_for_hf(module, str(folder), safe_serialization=True, data_config={"input_size": (3, 32, 32)})
    return folder


def make_model(folder: Path, **settings) -> Model:
    return load_model(make_base(folder, **settings), device="cpu")
