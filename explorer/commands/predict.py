"""predict: what a checkpoint sees in images."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explorer.commands import _outputs, _view
from explorer.commands._work import Work, add_work_option
from explorer.commands.finetune import add_weights_arguments, model_source
from explorer.errors import ExplorerError

if TYPE_CHECKING:
    from explorer.models.backbone import Model


def add_parser(subparsers: Any) -> None:
    """predict CHECKPOINT IMAGE… [--top N] [--csv FILE]"""
    parser = subparsers.add_parser("predict", help="classify images")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="checkpoint name, folder, or any model source")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="images, or folders of them")
    parser.add_argument(
        "--top", type=_view.at_least(1), default=3, metavar="N", help="classes to show per image (default: 3)"
    )
    add_weights_arguments(parser)
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write every image's probabilities to FILE")
    add_work_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the likeliest classes of each image; images that can't be read go to stderr, and the exit code is 2."""
    from explorer.data.sources import find_images
    from explorer.evaluation.sharing import BATCH
    from explorer.launch import processes
    from explorer.models.registry import check_there, find_source

    images = find_images(args.images)
    if args.csv:
        _outputs.check_output(args.csv, (".csv", ".txt"), images)
    source = find_source(args.checkpoint)
    check_there(source)
    if reasons := _none_opens(images):
        print("\n".join(f"error: {reason}" for reason in reasons), file=sys.stderr)
        return 2
    all_ = processes()
    classifier = _Classifier(args, source, all_.device)
    task = Work(args, images, args.csv, lambda: classifier.model, all_)
    found = task.values(range(0, len(images), BATCH), lambda start: classifier.rows(images[start : start + BATCH]))
    with ExitStack() as stack:
        file = None
        for each in (each for made in found for each in made):
            if "error" in each:
                task.fail(each["error"])
                continue
            print(each["line"])
            if args.csv:
                file = file or stack.enter_context(classifier.open_csv())
                file.writerow(each["cells"])
    if file:
        print(f"wrote {args.csv}")
    return task.finish()


class _Classifier:
    """The checkpoint, loaded when it is first asked for, and what is printed and written of images."""

    def __init__(self, args: argparse.Namespace, source: str, device: str):
        self.args, self.source, self.device = args, source, device

    @cached_property
    def model(self) -> "Model":
        from explorer.models.loading import load_model

        return load_model(model_source(self.args, self.source), device=self.device)

    @cached_property
    def class_names(self) -> list[str]:
        from explorer.evaluation.predict import class_names_of

        return class_names_of(self.model)

    def rows(self, images: Sequence[str]) -> list[dict[str, Any]]:
        """Of each image its line and, where asked for, the cells of its row; of one that can't be read the error."""
        from explorer.evaluation.predict import predict, prediction_cells

        found = predict(self.model, images, class_names=self.class_names)
        made: list[dict[str, Any]] = [{"error": reason} for reason in found.rejected.values()]
        for index, image in enumerate(found.images):
            numbers = found.probabilities[index]
            cells = prediction_cells(image, numbers, self.class_names, found.outputs) if self.args.csv else []
            made.append({"line": f"{image}: {found.words(index, self.args.top)}", "cells": cells})
        return made

    def open_csv(self) -> AbstractContextManager[Any]:
        """The writer of the CSV."""
        from explorer.evaluation.predict import open_rows, prediction_columns

        return open_rows(self.args.csv, prediction_columns(self.class_names, self.model.outputs, actual=False))


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
