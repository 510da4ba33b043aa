"""`python -m explorer figure`: one view of one image as a file; its ending says which kind."""

import argparse
from pathlib import Path

from explorer.commands import _outputs, _view
from explorer.errors import QueryError

DRAWN = (".svg", ".pdf")
KINDS = (*DRAWN, ".png", ".npz", ".gif", ".html", ".py")


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser("figure", help="save a view: figure of all heads, picture, GIF, live page or script")
    parser.add_argument("image", type=Path)
    parser.add_argument("--out", type=Path, required=True, help=f"a file ending in {', '.join(KINDS)}")
    parser.add_argument("--all-layers", action="store_true", help="SVG and PDF: every layer x head, not one layer")
    parser.add_argument(
        "--name", dest="names", action="append", default=[], metavar="9.3=NAME",
        help="SVG and PDF: what to call a head, by layer.head, or a class (may be repeated)",
    )  # fmt: skip
    _view.add_model_options(parser)
    _view.add_view_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Record the image and write the one file."""
    out = _outputs.check_output(args.out, KINDS, (args.image, _view.likeness_file(args)))
    for given, option in ((args.all_layers, "--all-layers"), (args.names, "--name")):
        if given and out.suffix.lower() not in DRAWN:
            raise QueryError(f"{option} is for SVG and PDF, and {out.name} is neither: leave it out.")
    _outputs.write_output(out, _contents(args, out.suffix.lower()))
    print(out)
    return 0


def _contents(args: argparse.Namespace, kind: str) -> bytes:
    from explorer.data.images import open_image
    from explorer.rendering.names import check_heads, parse_names
    from explorer.rendering.python_script import python_script

    shown = _view.view_of(args, args.image)
    if kind == ".py":
        return python_script(shown, args.out.parent).encode()
    photo = open_image(args.image)
    if likened := _view.likeness_file(args):
        open_image(likened)
    recording = _view.record_image(args, _view.open_model(args), photo)
    from explorer.rendering import figures, gif, view
    from explorer.web import live_page

    if kind in DRAWN:
        of, names = "layers" if args.all_layers else "heads", parse_names(args.names)
        check_heads(names, recording.depth, recording.num_heads)
        drawing = figures.figure(shown, recording, of, photo=args.image, names=names)
        return drawing.svg() if kind == ".svg" else drawing.pdf()
    if kind == ".gif":
        return gif.layers_gif(shown, recording, photo=args.image)
    if kind == ".html":
        return live_page.live_page(shown, recording).encode()
    return view.png(shown, recording, photo=args.image) if kind == ".png" else view.save_npz(shown, recording)
