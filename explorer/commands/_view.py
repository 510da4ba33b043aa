"""What the commands that show attention share: the options that make a View, and opening its model and image."""

import argparse
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explorer.attention.maps.settings import INSTEAD_OF, Choice, Setting, TargetClass
from explorer.attention.maps.table import DEFAULT, MAP_KINDS, current_name, map_kind
from explorer.errors import QueryError

if TYPE_CHECKING:
    from explorer.attention.recording import Recording
    from explorer.data.images import ImageSource
    from explorer.models.backbone import Model
    from explorer.rendering.view import View


def add_model_options(parser: argparse.ArgumentParser, fit: str = "own") -> None:
    """--model, --arch, --num-heads, --grid, --prompt, --size, --fit."""
    parser.add_argument("--model", default="bundled", help="registry key, timm:<id>, hf:<org/name>, file or folder")
    parser.add_argument("--arch", help="timm name of the architecture, where a weights file can't tell")
    parser.add_argument("--num-heads", type=int, help="where a weights file can't tell")
    parser.add_argument("--grid", metavar="ROWSxCOLS", help="of a weights file's position embeddings, where no square")
    parser.add_argument("--prompt", dest="prompts", action="append", default=[], metavar="TEXT",
                        help="a text as a class, of a CLIP or SigLIP with its text half (may be repeated)")  # fmt: skip
    parser.add_argument("--size", type=int, help="input size in pixels, a multiple of the patch (default: the model's)")
    parser.add_argument(
        "--fit", choices=("own", "crop", "squash", "keep"), default=fit,
        help=f"of photos to the input; own: as the library that the model comes from does it (default: {fit})",
    )  # fmt: skip


def add_view_options(parser: argparse.ArgumentParser) -> None:
    """What is shown, of any kind of map, and how it is drawn."""
    parser.add_argument("--kind", type=current_name, choices=tuple(MAP_KINDS), default=DEFAULT, help="of map")
    add_settings(parser, *(setting for kind in MAP_KINDS.values() for setting in kind.settings))
    parser.add_argument("--mass", type=float, help="darken all but the patches that hold this share, 0 to 1")
    add_look_options(parser)


def add_settings(parser: argparse.ArgumentParser, *settings: Setting) -> None:
    """One option for each setting of maps; those that several kinds share once."""
    for name in dict.fromkeys(setting.name for setting in settings):
        setting = next(setting for setting in settings if setting.name == name)
        parser.add_argument(
            f"--{setting.key.replace('_', '-')}", dest=setting.name, type=for_argparse(setting.parse),
            default=setting.default,
            choices=setting.choices if isinstance(setting, Choice) else None, metavar=setting.metavar,
            help=setting.help,
        )  # fmt: skip
    if any(isinstance(setting, TargetClass) for setting in settings):
        parser.add_argument(
            f"--{INSTEAD_OF.replace('_', '-')}", metavar="CLASS",
            help="explain the difference to this class: why the one and not the other",
        )  # fmt: skip


def at_least(least: int) -> Callable[[str], int]:
    """A reader of whole numbers from `least` on for argparse."""

    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} on, not {text}")
        return int(text)

    return read


def for_argparse(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """A reader of settings for argparse, which shows the sentence of an ArgumentTypeError alone."""

    def read(text: str) -> Any:
        try:
            return parse(text)
        except QueryError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return read


def add_look_options(parser: argparse.ArgumentParser) -> None:
    """--hide-artefacts, --colormap, --opacity, --resample, --scale, --width."""
    parser.add_argument("--hide-artefacts", action="store_true", help="take patches of outlying norm out of the map")
    parser.add_argument("--colormap", default="inferno", help="inferno, viridis, cividis, turbo or grey")
    parser.add_argument("--opacity", type=float, default=0.6)
    parser.add_argument("--resample", choices=("bicubic", "nearest"), default="bicubic")
    parser.add_argument("--scale", choices=("map", "shared", "raw"), default="map", help="range of the colours")
    parser.add_argument("--width", type=int, help="of a picture in pixels (default: the photo's own, up to 2048)")


def view_of(args: argparse.Namespace, image: Path | str) -> "View":
    """The View that the options describe; options that a command doesn't have keep their defaults."""
    from explorer.models.source import ModelSource
    from explorer.rendering.view import Look, MapChoice, PhotoInput, View

    row = map_kind(getattr(args, "kind", DEFAULT))
    settings, explained = row.defaults | _given(args, *row.defaults), row.needs(TargetClass)
    if explained and (other := getattr(args, INSTEAD_OF, None)) is not None:
        settings[explained.name] = (settings[explained.name], other)
    return View(
        ModelSource(args.model, args.arch, args.num_heads, args.grid, tuple(args.prompts)),
        PhotoInput(str(image), args.size, args.fit),
        MapChoice(row.name, **settings),
        Look(**_given(args, *(field.name for field in fields(Look)))),
    )


def _given(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    return {name: getattr(args, name) for name in names if hasattr(args, name)}


def likeness_file(args: argparse.Namespace) -> str | None:
    """The image file of --similar-to, where it names one."""
    return args.similar_to if isinstance(args.similar_to, str) else None


def model_once(args: argparse.Namespace, device: str = "auto") -> "Callable[[], Model]":
    """open_model() for when the first photo is there: what is wrong with a file is said before torch is imported."""
    return cache(lambda: open_model(args, device))


def open_model(args: argparse.Namespace, device: str = "auto") -> "Model":
    """The model of --model, --arch, --num-heads and --grid."""
    from explorer.models.registry import check_there

    check_there(args.model)
    from explorer import load_model, malloc

    malloc.settle()
    return load_model(
        args.model, device, arch=args.arch, num_heads=args.num_heads, grid=args.grid, prompts=args.prompts
    )


def record_image(args: argparse.Namespace, model: "Model", image: "ImageSource") -> "Recording":
    """The image as the model sees it with --size and --fit."""
    from explorer import record

    return record(model, image, args.size, args.fit)
