"""Which map tells what a model decides by: patches taken away by each map's order, and object masks.

    python -m benchmarks.explain [--photos 60] [--maps gradient relevance ...] [--out FILE.csv]

The real DeiT-Tiny on the first photos of the ImageNet samples, squashed to 224 px. By steps of a tenth, to nine
tenths, patches take the mean colour of the model's training photos: the map's most important first (MIF) or least
important first (LIF). MIF is 1 - the share of photos whose predicted class is still the predicted one, LIF that
share, both averaged over the steps; SRG = LIF accuracy - MIF accuracy. AUC: pixels of an object's mask against the
background, on the photos that have one.
"""

import argparse
import csv
import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import explorer
from benchmarks.masks import DATA, SIZE, WEIGHTS, photos_and_masks
from explorer.attention.evidence import centre_prior, descending
from explorer.attention.localization import score_map
from explorer.attention.maps import gradcam, gradient, integrated_gradients, legrad, occlusion, relevance
from explorer.models.backbone import Model

PHOTOS = "datasets/imagenet_samples_800.zip"
STEPS = np.arange(1, 10) / 10
Heatmap = Callable[[explorer.Recording], np.ndarray]

MAPS: dict[str, Heatmap] = {
    "gradient": gradient.compute,
    "gradient, first layer": lambda recording: _layers(recording)[0],
    "relevance": relevance.compute,
    "relevance, Chefer's own gradient": lambda recording: relevance.compute(recording, balanced=False),
    "legrad": legrad.compute,
    "gradcam": gradcam.compute,
    "integrated gradients": integrated_gradients.compute,
    "occlusion": occlusion.compute,
    "rollout": lambda recording: recording.rollout(),
    "rollout, 90 % discarded": lambda recording: recording.rollout(discard_ratio=0.9),
    "attention, layer 9": lambda recording: recording.attention(9),
    "attention, last layer": lambda recording: recording.attention(-1),
    "centre prior": lambda recording: centre_prior(recording.grid),
    "random": lambda recording: np.random.default_rng(0).random(recording.grid),
}


def _layers(recording: explorer.Recording) -> np.ndarray:
    """(layer, rows, cols): the summands of the gradient map."""
    layers = gradient.attribution(recording).layers[:, len(recording.prefix_tokens) :]
    return layers.reshape(-1, *recording.grid)


def photos(archive: Path, count: int) -> Iterator[Image.Image]:
    """The first photos of a zip file, in the order of their names."""
    with zipfile.ZipFile(archive) as file:
        names = sorted(name for name in file.namelist() if name.lower().endswith((".jpg", ".jpeg", ".png")))
        for name in names[:count]:
            yield Image.open(io.BytesIO(file.read(name))).convert("RGB")


@torch.no_grad()
def kept_class(recording: explorer.Recording, order: np.ndarray) -> np.ndarray:
    """(step,) whether the predicted class stays the predicted one without the first tenths of `order`."""
    model, side = recording.model, recording.patch_size
    pixels = model.pixels(recording.image)
    rank = np.empty(order.size, int)
    rank[order] = np.arange(order.size)
    gone = np.stack([rank.reshape(recording.grid) < round(share * order.size) for share in STEPS])
    mask = torch.from_numpy(np.kron(gone, np.ones((1, side, side), bool)))[:, None]
    _, logits = model.forward(torch.where(mask, 0.0, pixels))
    assert logits is not None and recording.logits is not None
    return (logits.argmax(dim=1) == int(recording.logits.argmax())).numpy()


def faithfulness(model: Model, archive: Path, count: int, maps: dict[str, Heatmap]) -> dict[str, tuple[float, float]]:
    """(MIF accuracy, LIF accuracy) of each map."""
    kept: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in maps}
    for done, photo in enumerate(photos(archive, count), 1):
        recording = explorer.record(model, photo, SIZE, "squash")
        for name, heatmap in maps.items():
            order = descending(heatmap(recording))
            kept[name].append((kept_class(recording, order), kept_class(recording, order[::-1])))
        print(f"\r{done} of {count} photos", end="", flush=True)
    print()
    return {name: tuple(np.mean(rows, axis=(0, 2))) for name, rows in kept.items()}


def mask_auc(model: Model, folder: Path, maps: dict[str, Heatmap]) -> dict[str, float]:
    """The mean pixel AUC of each map."""
    found: dict[str, list[float]] = {name: [] for name in maps}
    for photo, mask in photos_and_masks(folder, model.patch_size):
        recording = explorer.record(model, photo, SIZE, "squash")
        for name, heatmap in maps.items():
            found[name].append(score_map(heatmap(recording), mask).auc)
    return {name: float(np.mean(values)) for name, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.explain", description="Which map tells the truth?")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with weights/, datasets/ and masks/")
    parser.add_argument("--photos", type=int, default=60)
    parser.add_argument("--maps", nargs="+", choices=MAPS, default=list(MAPS))
    parser.add_argument("--out", type=Path, help="also write the table as CSV")
    args = parser.parse_args()
    model = explorer.load_model(args.data / WEIGHTS, device="cpu")
    maps = {name: MAPS[name] for name in args.maps}
    kept = faithfulness(model, args.data / PHOTOS, args.photos, maps)
    auc = mask_auc(model, args.data / "masks", maps)
    rows = [(name, 1 - mif, lif, lif - mif, auc[name]) for name, (mif, lif) in kept.items()]
    rows.sort(key=lambda row: -row[3])
    print("| map | MIF (1 - accuracy) | LIF accuracy | SRG | mask AUC |\n|---|---|---|---|---|")
    print(
        "\n".join(f"| {name} | " + " | ".join(f"{number:.3f}" for number in numbers) + " |" for name, *numbers in rows)
    )
    if args.out:
        with args.out.open("w", newline="") as file:
            csv.writer(file).writerows([("map", "mif", "lif", "srg", "auc"), *rows])


if __name__ == "__main__":
    main()
