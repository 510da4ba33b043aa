"""`python -m explorer score`: which head finds the object, over a folder of images and one of masks."""

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from explorer.attention.maps.table import QUERY
from explorer.commands import _view
from explorer.errors import DataError

if TYPE_CHECKING:
    from explorer.attention.localization import Score

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"}
COLUMNS = ("layer", "head", "auc", "iou", "pointing")


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser("score", help="rank every layer and head by how well it finds masked objects")
    parser.add_argument("images", type=Path, help="an image, or a folder of them")
    parser.add_argument("masks", type=Path, help="a mask, or a folder with one of the same name for each image: "
                        "255 object, 0 background, 128 left out")  # fmt: skip
    _view.add_settings(parser, QUERY)
    parser.add_argument("--top", type=int, default=10, help="rows of the printed table; 0: all (default: 10)")
    parser.add_argument("--csv", type=Path, help="write all rows to this file")
    parser.add_argument("--markdown", type=Path, help="write all rows to this file")
    _view.add_model_options(parser, fit="squash")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Score image after image (progress on stderr), then print the mean table as Markdown, best AUC first."""
    from explorer.attention.localization import average, fit_mask, rank_heads

    pairs = pair_up(args.images, args.masks)
    model = _view.open_model(args)
    per_image = []
    for done, (image, mask) in enumerate(pairs, start=1):
        recording = _view.recorded(args, model, image)
        pixels = fit_mask(mask, args.size or model.input_size, model.patch_size, args.fit)
        per_image.append(rank_heads(recording, pixels, args.query))
        print(f"{done} of {len(pairs)}: {image.name}", file=sys.stderr)
    scores = average(per_image)
    if args.csv:
        with _view.writable(args.csv, (".csv", ".txt")).open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *map(_cells, scores)])
    if args.markdown:
        _view.writable(args.markdown, (".md", ".txt")).write_text(markdown(scores))
    print(f"{model.name}, {len(pairs)} image{'s' if len(pairs) > 1 else ''}\n")
    print(markdown(scores[: args.top] if args.top else scores), end="")
    return 0


def pair_up(images: Path, masks: Path) -> list[tuple[Path, Path]]:
    """Each image with the mask of the same name (endings may differ); DataError where one is missing."""
    if images.is_file() and masks.is_file():
        return [(images, masks)]
    if not images.is_dir() or not masks.is_dir():
        raise DataError(f"Give two files or two folders: {images} and {masks} are not both there, or not of one kind.")
    found = {path.stem: path for path in _pictures(masks)}
    pairs = [(path, found.get(path.stem)) for path in _pictures(images)]
    missing = [path.name for path, mask in pairs if mask is None]
    if missing:
        raise DataError(f"{masks} has no mask for {', '.join(missing[:5])}{' …' if len(missing) > 5 else ''}.")
    if not pairs:
        raise DataError(f"{images} holds no image file.")
    return [(path, mask) for path, mask in pairs if mask is not None]


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def _cells(score: "Score") -> tuple[str, ...]:
    layer = "" if score.layer is None else str(score.layer)
    return layer, str(score.head), f"{score.auc:.4f}", f"{score.iou:.4f}", f"{score.pointing:.4f}"


def markdown(scores: Sequence["Score"]) -> str:
    """The scores as a Markdown table."""
    rows = [COLUMNS, ("---",) * len(COLUMNS), *map(_cells, scores)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
