"""Write a trained student as a folder that timm and transformers open."""

import json
from pathlib import Path

from timm.data.imagenet_info import ImageNetInfo

from explorer.training.distil.data import MEAN, STD
from explorer.training.distil.losses import ViT
from explorer.training.runs.snapshots import save_tensors


def label_names() -> list[str]:
    """Return ImageNet's 1,000 class names in the usual order, the first name of each."""
    info = ImageNetInfo()
    return [info.index_to_description(i).split(",")[0] for i in range(info.num_classes())]


def config_of(model: ViT) -> dict:
    """Describe the model in timm's hub format."""
    block = model.blocks[0]
    return {
        "architecture": "vit_tiny_patch16_224",
        "num_classes": model.num_classes,
        "num_features": model.num_features,
        "global_pool": "token",
        # num_classes stays out of model_args: transformers would receive it twice.
        "model_args": {"depth": len(model.blocks), "embed_dim": model.embed_dim, "num_heads": block.attn.num_heads},
        "pretrained_cfg": {
            "tag": "bundled",
            "custom_load": False,
            "input_size": [3, 224, 224],
            "fixed_input_size": True,
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": list(MEAN),
            "std": list(STD),
            "num_classes": model.num_classes,
            "pool_size": None,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        },
        "label_names": label_names(),
    }


def export(model: ViT, folder: Path) -> None:
    """Write config.json and model.safetensors (float16) into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    config = config_of(model)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    tensors = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    save_tensors(folder / "model.safetensors", tensors)
