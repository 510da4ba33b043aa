"""What the commands that show attention share: the options that make a View, and opening its model and image."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from explorer.attention.recording import Recording
    from explorer.models.backbone import Model
    from explorer.rendering.view import View


def add_model_options(parser: argparse.ArgumentParser, fit: str = "crop") -> None:
    """--model, --arch, --num-heads, --grid, --size, --fit."""
    parser.add_argument("--model", default="bundled", help="registry key, timm:<id>, hf:<org/name>, file or folder")
    parser.add_argument("--arch", help="timm name of the architecture, where a weights file can't tell")
    parser.add_argument("--num-heads", type=int, help="where a weights file can't tell")
    parser.add_argument("--grid", metavar="ROWSxCOLS", help="of a weights file's position embeddings, where no square")
    parser.add_argument("--size", type=int, help="input size in pixels, a multiple of the patch (default: the model's)")
    parser.add_argument("--fit", choices=("crop", "squash", "keep"), default=fit, help=f"default: {fit}")


def add_view_options(parser: argparse.ArgumentParser) -> None:
    """What is shown, and how it is drawn."""
    parser.add_argument("--kind", choices=("raw", "rollout", "relevance"), default="raw")
    parser.add_argument("--layer", type=int, default=-1, help="negatives count from the end (default: the last)")
    parser.add_argument("--head", type=head, default="mean", help="a number, mean, max or min (default: mean)")
    parser.add_argument("--query", type=query, help="cls, another prefix token, mean, or a patch as ROW,COL")
    parser.add_argument("--mass", type=float, help="darken all but the patches that hold this share, 0 to 1")
    add_rollout_options(parser)
    add_target_options(parser)
    add_look_options(parser)


def add_rollout_options(parser: argparse.ArgumentParser) -> None:
    """--fusion, --discard-ratio, --start-layer."""
    parser.add_argument("--fusion", default="mean", choices=("mean", "max", "min"), help="of heads in a rollout")
    parser.add_argument("--discard-ratio", type=float, default=0.0, help="lowest share that a rollout leaves out")
    parser.add_argument("--start-layer", type=int, default=0, help="first layer of a rollout or of relevance")


def add_target_options(parser: argparse.ArgumentParser) -> None:
    """--class, --similar-to."""
    parser.add_argument("--class", dest="target", type=target, help="relevance's class, by number or name (default: "
                        "the predicted one)")  # fmt: skip
    parser.add_argument("--similar-to", type=query, metavar="IMAGE", help="relevance of the likeness to this image, or "
                        "to a patch given as ROW,COL, instead of a class")  # fmt: skip


def add_look_options(parser: argparse.ArgumentParser) -> None:
    """--hide-artefacts, --colormap, --opacity, --resample, --scale, --width."""
    parser.add_argument("--hide-artefacts", action="store_true", help="take patches of outlying norm out of the map")
    parser.add_argument("--colormap", default="inferno", help="inferno, viridis, cividis, turbo or grey")
    parser.add_argument("--opacity", type=float, default=0.6)
    parser.add_argument("--resample", choices=("bicubic", "nearest"), default="bicubic")
    parser.add_argument("--scale", choices=("map", "shared", "raw"), default="map", help="range of the colours")
    parser.add_argument("--width", type=int, help="of a picture in pixels (default: the photo's own, up to 2048)")


def head(text: str) -> int | str:
    """A head as typed: a number or a fusion."""
    return int(text) if text.lstrip("-").isdigit() else text


def query(text: str) -> str | tuple[int, int]:
    """A query as typed: a token's name, or a patch as ROW,COL."""
    parts = text.split(",")
    if len(parts) == 2 and all(part.strip().lstrip("-").isdigit() for part in parts):
        return int(parts[0]), int(parts[1])
    return text


def target(text: str) -> int | str:
    """A class as typed: its number or its name."""
    return int(text) if text.isdigit() else text


def view_of(args: argparse.Namespace, image: Path | str) -> "View":
    """The View that the options describe; options that a command doesn't have keep their defaults."""
    from dataclasses import fields

    from explorer.rendering.view import View

    given = {field.name: getattr(args, field.name) for field in fields(View) if hasattr(args, field.name)}
    return View(**{**given, "image": str(image), "model": args.model})


def likened(args: argparse.Namespace) -> str | None:
    """The image file of --similar-to, where it names one."""
    return args.similar_to if isinstance(args.similar_to, str) else None


def open_model(args: argparse.Namespace) -> "Model":
    """The model of --model, --arch, --num-heads and --grid."""
    from explorer import heap, load_model

    heap.settle()
    return load_model(args.model, arch=args.arch, num_heads=args.num_heads, grid=args.grid)


def recorded(args: argparse.Namespace, model: "Model", image: Path | str) -> "Recording":
    """The image as the model sees it with --size and --fit."""
    from explorer import record

    return record(model, image, args.size, args.fit)
