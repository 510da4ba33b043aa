"""`python -m explorer score`: which head finds the object, over a folder of images and one of masks."""

import argparse
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import astuple
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from explorer.attention.maps.table import QUERY
from explorer.commands import _outputs, _view
from explorer.commands._work import Work, add_work_option
from explorer.data.class_folders import is_picture
from explorer.errors import DataError, ImageError, QueryError

if TYPE_CHECKING:
    from explorer.attention.localization import Score
    from explorer.models.backbone import Model

COLUMNS = ("layer", "head", "auc", "iou", "pointing")


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser("score", help="rank every layer and head by how well it finds masked objects")
    parser.add_argument("images", type=Path, help="an image, or a folder of them")
    parser.add_argument("masks", type=Path, help="a mask, or a folder with one of the same name for each image: "
                        "255 object, 0 background, 128 left out")  # fmt: skip
    _view.add_settings(parser, QUERY)
    parser.add_argument(
        "--top", type=_view.at_least(0), default=10, help="rows of the printed table; 0: all (default: 10)"
    )
    parser.add_argument("--csv", type=Path, help="write all rows to this file")
    parser.add_argument("--markdown", type=Path, help="write all rows to this file")
    add_work_option(parser)
    _view.add_model_options(parser, fit="squash")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Score image after image (progress on stderr), then print the mean table as Markdown, best AUC first.

    Images that can't be scored are named on stderr, and the exit code is 2.
    """
    from explorer.launch import processes

    all_, pairs = processes(), pair_up(args.images, args.masks)
    _check_outputs(args, pairs)
    model = _view.model_once(args, all_.device)
    files = [path for pair in pairs for path in pair if path]
    task = Work(args, files, args.csv or args.markdown, model, all_)
    found = task.each(pairs, lambda pair: _scores(args, model, *pair), lambda pair: pair[0].name)
    first = next(found, None)
    if first is None:  # none could be scored, or another process says what was found
        return task.finish()
    from explorer.attention.localization import Score, average
    from explorer.evaluation.predict import open_rows

    scores = average([Score(*row) for row in rows] for rows in chain([first], found))
    scored = len(pairs) - task.failed
    if args.csv:
        with open_rows(args.csv, COLUMNS) as file:
            file.writerows(map(_cells, scores))
    if args.markdown:
        _outputs.write_output(args.markdown, markdown(scores))
    print(f"{model().name}, {scored} image{'s' if scored > 1 else ''}\n")
    print(markdown(scores[: args.top] if args.top else scores), end="")
    return task.finish()


def _check_outputs(args: argparse.Namespace, pairs: Sequence[tuple[Path, Path | None]]) -> None:
    """Make their folders; QueryError for a wrong ending, an input, or one file for both."""
    inputs = [path for pair in pairs for path in pair]
    for path, suffixes in ((args.csv, (".csv", ".txt")), (args.markdown, (".md", ".txt"))):
        if path:
            _outputs.check_output(path, suffixes, inputs)
    _outputs.check_distinct(args.csv, args.markdown)


def _scores(args: argparse.Namespace, model: "Callable[[], Model]", image: Path, mask: Path | None) -> list[tuple]:
    """The numbers of a Score for each map of the image."""
    from explorer.data.images import open_image

    if mask is None:
        raise DataError(f"{args.masks} has no mask for {image.name}.")
    photo = open_image(image)  # before the model
    recording = _view.record_image(args, model(), photo)
    from explorer.attention.localization import fit_mask, rank_heads

    recording.query_indices(args.query)  # a wrong query is wrong for all images, and said before their masks
    pixels = fit_mask(mask, recording.part.geometry, photo_size=recording.part.photo_size)
    try:
        return [astuple(score) for score in rank_heads(recording, pixels, args.query)]
    except QueryError as error:
        raise ImageError(f"{mask.name}: {error}") from error


def pair_up(images: Path, masks: Path) -> list[tuple[Path, Path | None]]:
    """Each image with the mask of the same name, or None; DataError where there is no pair.

    Endings may differ, and where no name is the very same, cases and how accents are composed.
    """
    if images.is_file() and masks.is_file():
        return [(images, masks)]
    if not images.is_dir() or not masks.is_dir():
        raise DataError(f"Give two files or two folders: {images} and {masks} are not both there, or not of one kind.")
    found = {path.stem: path for path in _pictures(masks)}
    alike = {_folded(path): path for path in found.values()}
    pairs = [(path, found.get(path.stem) or alike.get(_folded(path))) for path in _pictures(images)]
    if not pairs:
        raise DataError(f"{images} holds no image file.")
    if not any(mask for _, mask in pairs):
        missing = ", ".join(path.name for path, _ in pairs[:5])
        raise DataError(f"{masks} has no mask for {missing}{' …' if len(pairs) > 5 else ''}.")
    return pairs


def _folded(path: Path) -> str:
    return unicodedata.normalize("NFC", path.stem).casefold()


def _pictures(folder: Path) -> list[Path]:
    """The image files, without those that systems hide: macOS leaves a ._photo.jpg beside a copied photo.jpg."""
    return sorted(path for path in folder.iterdir() if is_picture(path.name))


def _cells(score: "Score") -> tuple[str, ...]:
    layer = "" if score.layer is None else str(score.layer)
    return layer, str(score.head), f"{score.auc:.4f}", f"{score.iou:.4f}", f"{score.pointing:.4f}"


def markdown(scores: Sequence["Score"]) -> str:
    """The scores as a Markdown table."""
    rows = [COLUMNS, ("---",) * len(COLUMNS), *map(_cells, scores)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
