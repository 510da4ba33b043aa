"""`python -m explorer compare`: how far two models, or all kept epochs of one, look apart on one image."""

import argparse
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from explorer.attention.maps.table import map_kind
from explorer.commands import _outputs, _view

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    from explorer.attention.divergence import History
    from explorer.attention.recording import Recording
    from explorer.rendering.view import View

PICTURES = (".png", ".jpg")
PANELS = 8  # epochs of a picture at most


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser("compare", help="how far two models, or the epochs of one, look apart, head by head")
    parser.add_argument("image", type=Path)
    other = parser.add_mutually_exclusive_group(required=True)
    other.add_argument("--with", dest="other", help="the second model, given as --model is")
    other.add_argument("--epochs", metavar="CHECKPOINT", help="every epoch kept beside this checkpoint, "
                       "compared with the model that it began with")  # fmt: skip
    parser.add_argument("--with-arch", help="--arch of the second model")
    parser.add_argument("--with-num-heads", type=int, help="--num-heads of the second model")
    parser.add_argument("--with-grid", metavar="ROWSxCOLS", help="--grid of the second model")
    _view.add_settings(parser, *map_kind("attention").settings)
    parser.add_argument("--top", type=_view.at_least(1), default=10, help="printed heads (default: 10)")
    parser.add_argument("--csv", type=Path, help="write every head's divergence to this file")
    parser.add_argument(
        "--out",
        type=Path,
        help="write both maps and their difference to this PNG, SVG or PDF, or up to 8 epochs to this PNG",
    )
    _view.add_model_options(parser, fit="crop")  # the same part of the photo for both, whatever is their own
    _view.add_look_options(parser)
    parser.set_defaults(run=run, model=None)


def run(args: argparse.Namespace) -> int:
    """Print the heads that differ most, or each epoch's divergence from the start by layer, in bits."""
    from explorer.data.images import open_image

    for path, suffixes in (
        (args.csv, (".csv", ".txt")),
        (args.out, PICTURES if args.epochs else (*PICTURES, ".svg", ".pdf")),
    ):
        if path:
            _outputs.check_output(path, suffixes, [args.image])
    open_image(args.image)
    return _epochs(args) if args.epochs else _two(args)


def _two(args: argparse.Namespace) -> int:
    from explorer.models.registry import check_there

    args.model = args.model or "bundled"
    for source in (args.model, args.other):
        check_there(source)
    from explorer import load_model
    from explorer.attention.divergence import divergence
    from explorer.models.descent import same_descent

    first = _view.record_image(args, _view.open_model(args), args.image)
    other = load_model(args.other, arch=args.with_arch, num_heads=args.with_num_heads, grid=args.with_grid)
    second = _view.record_image(args, other, args.image)
    related = same_descent(first.model, second.model)
    result = divergence(first, second, args.query, args.hide_artefacts, pair_heads=related)
    table = result.rows()
    _write_csv(args.csv, table)
    if args.out:
        _draw(args, first, second)
    print(f"{first.model_name} against {second.model_name}, mean {result.table.mean():.4f} bits")
    print("" if related else "Neither comes from the other: their heads have no pairs, so the means are compared.\n")
    if not result.table.any():
        print("Their attention is the same, as after training the head alone.\n")
    _show(table[: args.top + 1])
    return 0


def _draw(args: argparse.Namespace, first: "Recording", second: "Recording") -> None:
    from explorer.rendering.comparison import comparison_picture
    from explorer.rendering.comparison_figure import comparison_figure

    view, ending = _view.view_of(args, args.image), args.out.suffix.lower()
    if ending in (".png", ".jpg"):
        _save(comparison_picture(view, first, second, args.image), args.out)
        return
    drawing = comparison_figure(view, first, second, args.image)
    _outputs.write_output(args.out, drawing.svg() if ending == ".svg" else drawing.pdf())


def _epochs(args: argparse.Namespace) -> int:
    kept = _kept(args.epochs)
    _begin_with(args)
    from explorer.attention.divergence import history
    from explorer.rendering.comparison import epochs_picture
    from explorer.rendering.view import shown_map

    view = _view.view_of(args, args.image)
    model = _view.open_model(args)
    args.size = args.size or model.input_size  # of all epochs, whatever size the training used
    start = _view.record_image(args, model, args.image)
    maps = {0: shown_map(view, start)}
    result = history(start, _record_each(args, view, kept, maps), args.query, args.hide_artefacts)
    _write_csv(args.csv, [("epoch", "layer", "head", "bits"), *((*row[:3], f"{row[3]:.4f}") for row in result.rows())])
    if args.out:
        picture = epochs_picture(
            view, start, [(epoch, maps[epoch]) for epoch in spread(result.epochs, PANELS)], args.image
        )
        _save(picture, args.out)
    print(f"{args.epochs} against its start, {start.model_name}: mean bits over the heads of each layer\n")
    _show(_by_layer(result))
    return 0


def _kept(checkpoint: str) -> list[tuple[int, Path]]:
    from explorer.errors import QueryError
    from explorer.models.registry import saved_epochs

    kept = saved_epochs(checkpoint)
    if not kept:
        raise QueryError(
            f"{checkpoint} has no kept epochs: fine-tune with --keep-epochs 1, then compare its checkpoint."
        )
    return kept


def _begin_with(args: argparse.Namespace) -> None:
    """Where --model isn't given, the model that the checkpoint says it was trained from."""
    from explorer.errors import QueryError
    from explorer.models.registry import trained_from

    if args.model:
        return
    origin = trained_from(args.epochs)
    if origin is None:
        raise QueryError(f"{args.epochs} doesn't say what it was trained from: name that model by --model.")
    start = origin.model
    args.model, args.arch, args.num_heads, args.grid = start.source, start.arch, start.num_heads, start.grid


def _record_each(
    args: argparse.Namespace, view: "View", kept: list[tuple[int, Path]], maps: "dict[int, np.ndarray]"
) -> Iterator[tuple[int, "Recording"]]:
    """One recording after the other; leaves the view's map of each in `maps`."""
    from explorer import load_model
    from explorer.rendering.view import shown_map

    for epoch, folder in kept:
        recording = _view.record_image(args, load_model(folder), args.image)
        maps[epoch] = shown_map(view, recording)
        yield epoch, recording


def spread(items: Sequence[int], most: int) -> list[int]:
    """At most that many of them, evenly spaced, the first and the last among them."""
    count = min(most, len(items))
    return [items[round(at * (len(items) - 1) / max(1, count - 1))] for at in range(count)]


def _by_layer(result: "History") -> list[tuple]:
    layers = tuple(f"layer {layer}" for layer in range(result.table.shape[1]))
    rows = zip(result.epochs, result.by_layer, strict=True)
    return [("epoch", *layers), *((epoch, *(f"{bits:.4f}" for bits in row)) for epoch, row in rows)]


def _write_csv(path: Path | None, table: list[tuple]) -> None:
    if path:
        from explorer.evaluation.predict import open_rows

        with open_rows(path, table[0]) as file:
            file.writerows(table[1:])


def _save(picture: "Image", path: Path) -> None:
    file = BytesIO()
    picture.save(file, "JPEG" if path.suffix.lower() == ".jpg" else "PNG")
    _outputs.write_output(path, file.getvalue())


def _show(table: list[tuple]) -> None:
    for row in table:
        print("  ".join(str(cell).rjust(11 if len(row) < 5 else 8) for cell in row))
