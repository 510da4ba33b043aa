"""How closely map and biases add up to the score, for every family, with random weights.

    python -m benchmarks.completeness [--models SOURCE ...]

|score - (attributions + biases)| / |score| of the balanced gradient that enters layer 0. The score is the logit of the
predicted class, or, where a model has no classes, the likeness to a second photo. Random weights show only that the
account closes, not that a map is any good.
"""

import argparse

import torch
from torch import nn

import explorer
from explorer.attention.maps.gradient import attribution
from explorer.data.samples import sample_photo
from explorer.errors import ExplorerError
from explorer.models.transformers_models import FAMILIES

TIMM = (
    "vit_small_patch16_224", "deit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "deit3_small_patch16_224",
    "vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2", "vit_small_patch16_dinov3", "eva02_tiny_patch14_224",
    "beit_base_patch16_224", "beitv2_base_patch16_224", "vit_relpos_small_patch16_224",
    "vit_relpos_base_patch16_cls_224", "vit_relpos_base_patch16_rpn_224", "vit_srelpos_small_patch16_224",
    "vit_base_patch16_clip_224", "vit_base_patch16_siglip_224", "naflexvit_base_patch16_gap",
    "naflexvit_base_patch16_siglip", "vit_small_patch16_rope_mixed_224", "vit_base_patch16_sapiens2",
)  # fmt: skip
SIZE = 224


def widen(module: nn.Module) -> None:
    """Larger random weights, and biases: as initialised, attention is flat, and some heads and all biases are 0."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=1.5 / parameter.shape[-1] ** 0.5)
            else:
                parameter.add_(0.2 * torch.randn_like(parameter))


def error_of(source: str) -> str:
    """The error in words, or why there is none."""
    try:
        model = explorer.load_model(source, device="cpu", pretrained=False)
        widen(model.module)
        size = SIZE // model.patch_size * model.patch_size
        size = model.input_size if max(model.input_shape) <= SIZE + 32 else size
        recording, second = (explorer.record(model, sample_photo(name), size) for name in ("cat", "coffee"))
        found = attribution(recording, similar_to=None if recording.logits is not None else second).completeness
    except ExplorerError as error:
        return str(error).split(":")[0]
    return f"{found.error:.1e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = [*(f"timm:{name}" for name in TIMM), *(f"hf:{name}" for name in FAMILIES)]
    parser.add_argument("--models", nargs="+", default=every)
    args = parser.parse_args()
    print("| model | error |\n|---|---|")
    for source in args.models:
        print(f"| `{source}` | {error_of(source)} |", flush=True)


if __name__ == "__main__":
    main()
