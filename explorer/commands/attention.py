"""attention: pictures of where a model looks in images, and the numbers behind them."""

import argparse
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explorer.errors import ExplorerError, QueryError

if TYPE_CHECKING:
    from explorer.models.backbone import Model
    from explorer.rendering.view import View

EXAMPLE = "example: python -m explorer attention cat.jpg --layer 9 --head mean --query 7,5 --size 448 --out maps"
PREDICTED = "predicted"


def add_parser(subparsers: Any) -> None:
    """attention IMAGE… --model SOURCE --layer 9 --head mean --query cls --size 480 --out FOLDER [--npz] [--rollout]"""
    parser = subparsers.add_parser("attention", help="draw where a model looks in images", epilog=EXAMPLE)
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    parser.add_argument("--model", default="bundled", metavar="SOURCE", help="see `models` (default: bundled)")
    parser.add_argument("--arch", metavar="ID", help="timm id of a weights file that doesn't tell it")
    parser.add_argument("--num-heads", type=int, metavar="N", help="heads of a weights file that doesn't tell them")
    parser.add_argument("--size", type=int, metavar="PIXELS", help="input size in whole patches (default: the model's)")
    parser.add_argument("--fit", default="crop", choices=("crop", "squash", "keep"), help="default: crop")
    parser.add_argument("--query", type=_query, metavar="QUERY", help="cls, reg1, mean, or a patch: row,col")
    parser.add_argument("--out", type=Path, default=Path("attention"), metavar="FOLDER", help="default: attention")
    parser.add_argument("--npz", action="store_true", help="also write the map and every setting as NPZ")
    _add_kinds(parser)
    _add_looks(parser)
    parser.set_defaults(run=run)


def _add_kinds(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--layer", type=int, default=-1, help="from 0; negative from the end (default: the last)")
    parser.add_argument("--head", type=_head, default="mean", help="number, mean, max or min (default: mean)")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--rollout", action="store_true", help="attention rolled out through the layers instead")
    kinds.add_argument("--relevance", nargs="?", const=PREDICTED, metavar="CLASS",
                       help="relevance for a class (number or name; default: the predicted one) instead")  # fmt: skip
    parser.add_argument("--fusion", default="mean", choices=("mean", "max", "min"), help="of heads in a rollout")
    parser.add_argument("--discard-ratio", type=float, default=0.0, metavar="SHARE", help="lowest share left out of it")
    parser.add_argument("--start-layer", type=int, default=0, metavar="LAYER", help="of rollout and relevance")


def _add_looks(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--mass", type=float, metavar="SHARE", help="light only the patches that hold this share")
    parser.add_argument("--colormap", default="inferno", choices=("inferno", "viridis", "cividis", "turbo", "grey"))
    parser.add_argument("--opacity", type=float, default=0.6, help="of the colours, 0 to 1 (default: 0.6)")
    parser.add_argument("--nearest", action="store_true", help="show patches as squares instead of smooth")


def _head(text: str) -> int | str:
    return int(text) if text.lstrip("-").isdigit() else text


def _query(text: str) -> str | tuple[int, int]:
    row, comma, col = text.partition(",")
    if not comma:
        return text
    try:
        return int(row), int(col)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"a patch is row,col in whole numbers, such as 3,7, not {text}") from error


def run(args: argparse.Namespace) -> int:
    """Write one PNG (and NPZ) an image; images that can't be read go to stderr, and the exit code is 2."""
    from explorer.models.loading import load_model

    model, view, failed = load_model(args.model, arch=args.arch, num_heads=args.num_heads), _view(args), False
    args.out.mkdir(parents=True, exist_ok=True)
    for image, stem in zip(args.images, unique_stems(args.images), strict=True):
        try:
            for file in draw(model, image, replace(view, image=str(image)), args.out / stem, args.npz):
                print(f"wrote {file}")
        except QueryError:
            raise  # the same for every image
        except ExplorerError as error:
            failed = True
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    return 2 if failed else 0


def _view(args: argparse.Namespace) -> "View":
    from explorer.rendering.view import View

    target = None if args.relevance in (None, PREDICTED) else _head(args.relevance)
    return View(
        model=args.model, image="", arch=args.arch, num_heads=args.num_heads, size=args.size, fit=args.fit,
        kind="rollout" if args.rollout else "relevance" if args.relevance else "raw", layer=args.layer, head=args.head,
        query=args.query, fusion=args.fusion, discard_ratio=args.discard_ratio, start_layer=args.start_layer,
        target=target, mass=args.mass, colormap=args.colormap, opacity=args.opacity,
        resample="nearest" if args.nearest else "bicubic",
    )  # fmt: skip


def draw(model: "Model", image: Path, view: "View", stem: Path, npz: bool) -> list[Path]:
    """Record one image and write stem.png, and stem.npz where asked for; the files written."""
    from explorer.attention.recording import record
    from explorer.rendering.view import png, save_npz

    recording = record(model, image, view.size, view.fit)
    contents = {".png": png(view, recording)} | ({".npz": save_npz(view, recording)} if npz else {})
    files = []
    for suffix, data in contents.items():
        files.append(stem.with_name(stem.name + suffix))
        files[-1].write_bytes(data)
    return files


def unique_stems(images: list[Path]) -> list[str]:
    """File names without suffix; where several images share one, the later get -2, -3 and so on."""
    stems: list[str] = []
    for image in images:
        numbered = (f"{image.stem}-{number}" if number > 1 else image.stem for number in count(1))
        stems.append(next(stem for stem in numbered if stem not in stems))
    return stems
