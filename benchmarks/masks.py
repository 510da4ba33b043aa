"""How well each layer's attention finds the object: head-mean maps against 29 photos with object masks.

    python -m benchmarks.masks [--model SOURCE] [--data FOLDER] [--random [SOURCE]]

Prints, for every layer, the mean pixel AUC, the mean IoU at the best threshold and the share of photos whose peak lies
on the object, with a centre prior beside them; a map is squashed to 224 px and enlarged with nearest, and pixels
marked 128 are left out.
"""

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

import torch

import explorer
from explorer.attention.evidence import centre_prior
from explorer.attention.localization import PatchMask, Score, average, fit_mask, patch_mask, score_map
from explorer.models.backbone import Model

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
WEIGHTS = "weights/deit_tiny_patch16_224.safetensors"
SIZE = 224


def photos_and_masks(folder: Path, patch_size: int) -> Iterator[tuple[Path, PatchMask]]:
    """Each photo of folder/manifest.csv with its mask as counts per patch."""
    side = SIZE // patch_size
    with (folder / "manifest.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            pixels = fit_mask(folder / row["mask"], SIZE, 16, "squash")
            yield folder / row["image"], patch_mask(pixels, (side, side))


def score_layers(model: Model, folder: Path) -> list[Score]:
    """The mean scores of every layer's head-mean attention, layer by layer."""
    per_photo = []
    for photo, mask in photos_and_masks(folder, model.patch_size):
        recording = explorer.record(model, photo, SIZE, "squash")
        per_photo.append([score_map(recording.attention(layer), mask, layer) for layer in range(model.depth)])
    return sorted(average(per_photo), key=lambda score: score.layer or 0)


def score_centre(folder: Path) -> list[Score]:
    """The mean scores of a map that falls off from the centre pixel by pixel, whatever the photo shows."""
    prior = centre_prior((SIZE, SIZE))
    return average([score_map(prior, mask, None, "centre prior")] for _, mask in photos_and_masks(folder, 1))


def table(scores: list[Score], title: str) -> str:
    """The scores as a Markdown table."""
    lines = [f"| {title} | AUC | best IoU | peak on object |", "|---|---|---|---|"]
    for s in scores:
        name = s.head if s.layer is None else f"layer {s.layer}"
        lines.append(f"| {name} | {s.auc:.4f} | {s.iou:.3f} | {s.pointing:.0%} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.masks", description="Attention against object masks.")
    parser.add_argument("--model", help="what load_model takes; left out: the real DeiT-Tiny of the data folder")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with masks/ (and weights/)")
    parser.add_argument("--random", nargs="?", const="timm:deit_tiny_patch16_224", metavar="SOURCE",
                        help="also this model with random weights")  # fmt: skip
    args = parser.parse_args()
    folder = args.data / "masks"
    if not folder.is_dir():
        raise SystemExit(f"There are no photos with masks in {args.data}: give their folder with --data.")
    model = explorer.load_model(args.model or args.data / WEIGHTS)
    print(table([*score_layers(model, folder), *score_centre(folder)], model.name))
    if args.random:
        torch.manual_seed(0)
        untrained = explorer.load_model(args.random, pretrained=False)
        print("\n" + table(score_layers(untrained, folder), f"{untrained.name}, random weights"))


if __name__ == "__main__":
    main()
