"""`python -m explorer compare`: how two models look at one image: which heads changed, and where."""

import argparse
import csv
from pathlib import Path

from explorer.commands import _view


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser("compare", help="how far two models look apart, head by head")
    parser.add_argument("image", type=Path)
    parser.add_argument("--with", dest="other", required=True, help="the second model, given as --model is")
    parser.add_argument("--with-arch", help="--arch of the second model")
    parser.add_argument("--with-num-heads", type=int, help="--num-heads of the second model")
    parser.add_argument("--layer", type=int, default=-1, help="of the difference map (default: the last)")
    parser.add_argument("--head", type=_view.head, default="mean", help="of the difference map (default: mean)")
    parser.add_argument("--query", type=_view.query, help="cls, another prefix token, mean, or a patch as ROW,COL")
    parser.add_argument("--top", type=int, default=10, help="printed heads (default: 10)")
    parser.add_argument("--csv", type=Path, help="write every head's divergence to this file")
    parser.add_argument("--out", type=Path, help="write both maps and their difference to this PNG")
    _view.add_model_options(parser)
    _view.add_look_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the heads that differ most (Jensen-Shannon divergence in bits)."""
    from explorer import load_model
    from explorer.attention.divergence import divergence
    from explorer.rendering.comparison import comparison_picture

    first = _view.recorded(args, _view.open_model(args), args.image)
    second = _view.recorded(
        args, load_model(args.other, arch=args.with_arch, num_heads=args.with_num_heads), args.image
    )
    result = divergence(first, second, args.query)
    rows = [(change.layer, change.other_layer, change.head, f"{change.bits:.4f}") for change in result.most_changed()]
    table = [("layer", "other layer", "head", "bits"), *rows]
    if args.csv:
        with _view.writable(args.csv, (".csv", ".txt")).open("w", newline="") as file:
            csv.writer(file).writerows(table)
    if args.out:
        view = _view.view_of(args, args.image)
        comparison_picture(view, first, second).save(_view.writable(args.out, (".png", ".jpg")))
    print(f"{first.model_name} against {second.model_name}, mean {result.table.mean():.4f} bits\n")
    for row in table[: args.top + 1]:
        print("  ".join(str(cell).rjust(11) for cell in row))
    return 0
