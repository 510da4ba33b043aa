"""predict: what a checkpoint sees in images."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

from explorer.commands import _outputs
from explorer.commands._work import Work, add_work_option
from explorer.commands.finetune import add_weights_arguments, model_source
from explorer.errors import ExplorerError


def add_parser(subparsers: Any) -> None:
    """predict CHECKPOINT IMAGE… [--top N] [--csv FILE]"""
    parser = subparsers.add_parser("predict", help="classify images")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="checkpoint name, folder, or any model source")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="images, or folders of them")
    parser.add_argument("--top", type=int, default=3, metavar="N", help="classes to show per image (default: 3)")
    add_weights_arguments(parser)
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write every image's probabilities to FILE")
    add_work_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the likeliest classes of each image; images that can't be read go to stderr, and the exit code is 2."""
    from explorer.data.sources import find_images
    from explorer.launch import processes
    from explorer.models.registry import check_there, find_source

    images = find_images(args.images)
    if args.csv:
        _outputs.writable(args.csv, inputs=images)
    source = find_source(args.checkpoint)
    check_there(source)
    if reasons := _none_opens(images):
        print("\n".join(f"error: {reason}" for reason in reasons), file=sys.stderr)
        return 2
    from explorer.evaluation.predict import (
        BATCH,
        class_names_of,
        open_rows,
        predict,
        prediction_cells,
        prediction_columns,
    )
    from explorer.models.loading import load_model

    all_ = processes()
    model = cache(lambda: load_model(model_source(args, source), device=all_.device))
    names = cache(lambda: class_names_of(model()))

    def work(start: int) -> list[dict[str, Any]]:
        """What is printed of each of some images, and its row of the CSV."""
        found = predict(model(), images[start : start + BATCH], class_names=names())
        made = [{"error": reason} for reason in found.rejected.values()]
        for index, image in enumerate(found.images):
            row = prediction_cells(image, found.probabilities[index], names(), found.outputs) if args.csv else []
            made.append({"line": f"{image}: {found.words(index, args.top)}", "row": row})
        return made

    task = Work(args, images, args.csv, model, all_)
    found = task.values(range(0, len(images), BATCH), work)
    with ExitStack() as stack:
        file = None
        for each in (each for made in found for each in made):
            if "error" in each:
                task.fail(each["error"])
                continue
            print(each["line"])
            if args.csv:
                columns = prediction_columns(names(), model().outputs, actual=False)
                file = file or stack.enter_context(open_rows(args.csv, columns))
                file.writerow(each["row"])
    if args.csv and all_.is_main:
        print(f"wrote {args.csv}")
    return task.finish()


def _none_opens(images: Sequence[str]) -> list[ExplorerError]:
    """What is wrong with each image where not a single one can be opened, else nothing: known before torch is there."""
    from explorer.data.images import open_image

    errors: list[ExplorerError] = []
    for image in images:
        try:
            open_image(image)
        except ExplorerError as error:
            errors.append(error)
        else:
            return []
    return errors
