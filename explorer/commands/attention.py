"""attention: pictures of where a model looks in images, and the numbers behind them."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from explorer.commands import _view
from explorer.commands._outputs import unique_stems, write_output
from explorer.commands._work import Work, add_work_option

if TYPE_CHECKING:
    from PIL.Image import Image

    from explorer.models.backbone import Model
    from explorer.rendering.view import View

EXAMPLE = "example: python -m explorer attention cat.jpg --layer 9 --head mean --query 7,5 --size 448 --out maps"


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """attention IMAGE… --model SOURCE --layer 9 --head mean --query cls --size 480 --out FOLDER [--npz] [--rollout]"""
    parser = subparsers.add_parser("attention", help="draw where a model looks in images", epilog=EXAMPLE)
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="images, or folders of them")
    parser.add_argument("--out", type=Path, default=Path("attention"), help="folder (default: attention)")
    add_work_option(parser)
    parser.add_argument("--npz", action="store_true", help="also write the map and every setting")
    _view.add_model_options(parser)
    _view.add_view_options(parser)
    parser.add_argument("--rollout", dest="kind", action="store_const", const="rollout", default=argparse.SUPPRESS,
                        help="short for --kind rollout")  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write one PNG (and NPZ) per image; images that can't be read go to stderr, and the exit code is 2."""
    from explorer.data.images import open_image
    from explorer.data.sources import find_images
    from explorer.launch import processes

    args.out.mkdir(parents=True, exist_ok=True)
    all_, images = processes(), find_images(args.images)
    model, view = _view.model_once(args, all_.device), _view.view_of(args, "")

    def work(pair: tuple[str, str]) -> list[str]:
        image, stem = pair
        photo = open_image(image)
        shown = replace(view, photo=replace(view.photo, image=image))
        return [str(file) for file in draw(model(), photo, shown, args.out / stem, args.npz)]

    stems = unique_stems(images, args.out, (".png", ".npz"), [_view.likeness_file(args) or ""])
    task = Work(args, images, args.out, model, all_)
    for files in task.each(list(zip(images, stems, strict=True)), work, lambda pair: Path(pair[0]).name):
        print(*(f"wrote {file}" for file in files), sep="\n")
    return task.finish()


def draw(model: "Model", photo: "Image", view: "View", stem: Path, npz: bool) -> list[Path]:
    """Record one photo and write stem.png, and stem.npz where asked for; the files written."""
    from explorer.attention.recording import record
    from explorer.rendering.view import png, save_npz

    recording = record(model, photo, view.photo.size, view.photo.fit)
    contents = {".png": png(view, recording, photo=photo)} | ({".npz": save_npz(view, recording)} if npz else {})
    files = []
    for suffix, data in contents.items():
        files.append(stem.with_name(stem.name + suffix))
        write_output(files[-1], data)
    return files
