"""Which map tells what DeiT-Tiny decides by: the bench on ImageNet's sample photos and on photos with object masks.

    python -m benchmarks.explain --out FOLDER [--photos 60] [--skip 0] [--model SOURCE] [--maps gradient ...]

Two calls of `python -m explorer bench`, with the real DeiT-Tiny, squashed to 224 px: patches are taken away on the
first photos of the samples, and on the photos with masks the maps are compared with the masks alone.
"""

import argparse
from pathlib import Path

from benchmarks.masks import DATA, SIZE, WEIGHTS
from explorer.cli import main as explorer

PHOTOS = "datasets/imagenet_samples_800.zip"
MAPS = ("all", "relevance:balanced=no", "rollout:discard_ratio=0.9", "attention:layer=9")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.explain", description="Which map tells the truth?")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with weights/, datasets/ and masks/")
    parser.add_argument("--model", help="what load_model takes; left out: the real DeiT-Tiny of the data folder")
    parser.add_argument("--photos", type=int, default=60)
    parser.add_argument("--skip", type=int, default=0)
    parser.add_argument("--maps", nargs="+", default=MAPS)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    asked = ["--maps", *args.maps, "--without", "occlusion", "--size", str(SIZE), "--fit", "squash", "--model",
             args.model or str(args.data / WEIGHTS)]  # fmt: skip
    counts = ["--photos", str(args.photos), "--skip", str(args.skip)]
    code = explorer(["bench", str(args.data / PHOTOS), *counts, *asked, "--out", str(args.out / "photos")])
    masks = ["--masks", str(args.data / "masks" / "masks"), "--ways", "--sanity", "0"]
    photos = str(args.data / "masks" / "images")
    raise SystemExit(code or explorer(["bench", photos, *masks, *asked, "--out", str(args.out / "masks")]))


if __name__ == "__main__":
    main()
