"""Compare the bundled model with its teacher, random weights and a centre prior; prints Markdown tables.

    python -m benchmarks.bundled [--data FOLDER]

Nothing it measures was trained on: held-out photos, masks, validation halves.
"""

import argparse
import csv
import io
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from timm.data.imagenet_info import ImageNetInfo

import explorer
from explorer.attention.evidence import centre_prior
from explorer.attention.localization import fit_mask, patch_mask, score_map
from explorer.models.backbone import Model
from explorer.training.distil.data import SUFFIXES, find_archives, is_held_out

BATCH = 32
TEACHER = "weights/deit_tiny_patch16_224.safetensors"
Photo = tuple[str, Image.Image]


def photos_in(archive: Path, wanted=lambda name: True) -> Iterator[Photo]:
    """Yield (name, photo) of the wanted members of a zip file, in the order of their names."""
    with zipfile.ZipFile(archive) as file:
        for name in sorted(n for n in file.namelist() if Path(n).suffix.lower() in SUFFIXES and wanted(n)):
            yield name, Image.open(io.BytesIO(file.read(name))).convert("RGB")


def held_out_photos(data: Path) -> list[Photo]:
    """Return the tenth of the distillation photos that was never trained on, named archive/member."""
    archives = find_archives([data / "distil", data / "datasets/imagenet_samples_800.zip"])
    return [
        (f"{archive.stem}/{name}", photo)
        for archive in archives
        for name, photo in photos_in(archive, lambda name, stem=archive.stem: is_held_out(f"{stem}/{name}"))
    ]


def true_classes(photos: list[Photo], data: Path) -> np.ndarray:
    """Return the ImageNet class of each photo where its archive tells, -1 elsewhere."""
    wordnet = {wordnet_id: i for i, wordnet_id in enumerate(ImageNetInfo().label_names())}
    with open(data / "distil/nips2017_labels_and_credits.csv", newline="") as file:
        wordnet |= {row["ImageId"]: int(row["TrueLabel"]) - 1 for row in csv.DictReader(file)}
    parts = [(Path(name).stem, Path(name).parent.name) for name, _ in photos]
    return np.array([wordnet.get(stem, wordnet.get(folder, -1)) for stem, folder in parts])


@torch.inference_mode()
def outputs(model: Model, photos: Iterable[Image.Image]) -> tuple[np.ndarray, np.ndarray]:
    """Return the cls features (photo, width) and logits (photo, class) of centre crops."""
    features, logits, waiting = [], [], []
    for pixels in (model.preprocess(photo) for photo in photos):
        waiting.append(pixels)
        if len(waiting) == BATCH:
            _run(model, waiting, features, logits)
    if waiting:
        _run(model, waiting, features, logits)
    return np.concatenate(features), np.concatenate(logits)


def _run(model: Model, waiting: list, features: list, logits: list) -> None:
    module: Any = model.module
    tokens = module.forward_features(torch.cat(waiting).to(model.device))
    features.append(tokens[:, 0].cpu().numpy())
    logits.append(module.forward_head(tokens).cpu().numpy())
    waiting.clear()


def agreement(logits: np.ndarray, teacher: np.ndarray) -> tuple[float, float]:
    """Return the shares of photos where the teacher's first class is this model's first, and among its first five."""
    first = teacher.argmax(1)[:, None]
    ranks = (-logits).argsort(1)[:, :5] == first
    return float(ranks[:, 0].mean()), float(ranks.any(1).mean())


@dataclass(frozen=True)
class Localisation:
    """How head-mean cls attention lies on the masks: means over the photos, one number per layer."""

    auc: np.ndarray
    pointing: np.ndarray


def localisation(model: Model | None, data: Path) -> Localisation:
    """Score every layer on the masks (photos squashed to 224 px); without a model, score the centre prior."""
    with open(data / "masks/manifest.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    scores = []
    for row in rows:
        mask = fit_mask(data / "masks" / row["mask"], 224, 16, "squash")
        counts = patch_mask(mask, (14, 14))
        if model is None:
            heatmaps = [centre_prior((14, 14))]
        else:
            recording = explorer.record(model, data / "masks" / row["image"], size=224, fit="squash")
            heatmaps = [recording.attention(layer) for layer in range(recording.depth)]
        scores.append([score_map(heatmap, counts) for heatmap in heatmaps])
    auc, pointing = (np.array([[getattr(s, key) for s in row] for row in scores]) for key in ("auc", "pointing"))
    return Localisation(auc.mean(0), pointing.mean(0))


def maps_of(model: Model, photos: list[Photo]) -> np.ndarray:
    """Return head-mean cls attention of every layer, (photo, layer, patch)."""
    recordings = (explorer.record(model, photo) for _, photo in photos)
    return np.stack([[r.attention(layer).ravel() for layer in range(r.depth)] for r in recordings])


def correlation(maps: np.ndarray, teacher: np.ndarray) -> np.ndarray:
    """Return Pearson's r between maps over patches, averaged over photos, one number per layer."""
    a, b = (m - m.mean(-1, keepdims=True) for m in (maps, teacher))
    return ((a * b).sum(-1) / np.sqrt((a**2).sum(-1) * (b**2).sum(-1))).mean(0)


def class_folders(archive: Path, half: str = "") -> tuple[list[Image.Image], np.ndarray]:
    """Return the photos of a zip's class folders (of one half where it has halves) and their class names."""
    members = list(photos_in(archive, lambda name: half in Path(name).parts[:-1] or not half))
    return [photo for _, photo in members], np.array([Path(name).parent.name for name, _ in members])


def linear_head(train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> float:
    """Return the accuracy of logistic regression on frozen cls features."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000)).fit(train, train_labels)
    return float(probe.score(test, test_labels))


def hymenoptera(model: Model, data: Path) -> float:
    """Return the linear head's accuracy on the validation half, trained on the training half."""
    halves = [class_folders(data / "datasets/hymenoptera.zip", half) for half in ("train", "val")]
    (train, train_labels), (test, test_labels) = halves
    return linear_head(outputs(model, train)[0], train_labels, outputs(model, test)[0], test_labels)


def shoes(model: Model, data: Path, draws: int = 5) -> float:
    """Return the linear head's accuracy with 300 training photos, the mean of several draws."""
    photos, labels = class_folders(data / "datasets/shoe_sandal_boot.zip")
    features = outputs(model, photos)[0]
    scores = []
    for draw in range(draws):
        order = np.random.default_rng(draw).permutation(len(photos))
        train, test = order[:300], order[300:]
        scores.append(linear_head(features[train], labels[train], features[test], labels[test]))
    return float(np.mean(scores))


def random_weights(like: Model) -> Model:
    """Return the model's architecture with random weights, always the same."""
    torch.manual_seed(0)
    return explorer.load_model("timm:vit_tiny_patch16_224", device="cpu", pretrained=False)


def row(name: str, *values: float | str) -> str:
    cells = [value if isinstance(value, str) else f"{value:.3f}".replace("0.", ".", 1) for value in values]
    return f"| {name} | {' | '.join(cells)} |"


def closed(teacher: float, model: float, random: float) -> str:
    """Say which share of the gap between random weights and the teacher the model closed."""
    return f"{(model - random) / (teacher - random):.0%}"


def compared(name: str, values: list[float], prior: float | None = None) -> str:
    """Return one line of the main table from the values of teacher, bundled model and random weights."""
    return row(name, *values, "–" if prior is None else f"{prior:.3f}".replace("0.", ".", 1), closed(*values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), help="folder with weights, masks, datasets and distil"
    )
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--photos", type=int, default=None, help="held-out photos to use, all by default")
    args = parser.parse_args()
    teacher = explorer.load_model(args.data / TEACHER, device="cpu", arch="deit_tiny_patch16_224")
    bundled = explorer.load_model(args.model, device="cpu")
    models = [teacher, bundled, random_weights(bundled)]
    photos = held_out_photos(args.data)[:: 1 if args.photos is None else -(-1457 // args.photos)]
    truth = true_classes(photos, args.data)
    logits = [outputs(model, [photo for _, photo in photos])[1] for model in models]
    agreed = [agreement(values, logits[0]) for values in logits]
    top1 = [float((values.argmax(1) == truth)[truth >= 0].mean()) for values in logits]
    located = [localisation(model, args.data) for model in models]
    prior = localisation(None, args.data)
    maps = [maps_of(model, photos[::10]) for model in models]
    alike = [correlation(values, maps[0]) for values in maps]

    print(f"{len(photos)} held-out photos, {(truth >= 0).sum()} with an ImageNet label.\n")
    print("| | teacher | bundled | random weights | centre prior | gap closed |\n|---|---|---|---|---|---|")
    print(compared("teacher's top-1 met", [a[0] for a in agreed]))
    print(compared("teacher's top-1 in top-5", [a[1] for a in agreed]))
    print(compared("top-1, labelled photos", top1))
    print(compared("mask AUC, best layer", [m.auc.max() for m in located], prior.auc[0]))
    print(compared("pointing game, best layer", [m.pointing.max() for m in located], prior.pointing[0]))
    print(compared("correlation of maps with the teacher's, mean of layers", [a.mean() for a in alike]))
    print(compared("linear head, hymenoptera", [hymenoptera(model, args.data) for model in models]))
    print(compared("linear head, shoe_sandal_boot, 300 photos", [shoes(model, args.data) for model in models]))
    layers = range(len(located[1].auc))
    print(f"\n| layer | {' | '.join(map(str, layers))} |\n|---|{'---|' * len(layers)}")
    for name, measured in zip(("teacher", "bundled", "random"), located, strict=True):
        print(row(f"AUC, {name}", *measured.auc))
    for name, measured in zip(("teacher", "bundled", "random"), located, strict=True):
        print(row(f"pointing, {name}", *measured.pointing))
    print(row("correlation, bundled", *alike[1]))
    print(row("correlation, random", *alike[2]))


if __name__ == "__main__":
    main()
