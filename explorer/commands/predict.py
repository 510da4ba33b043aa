"""predict: what a checkpoint sees in images."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from explorer.commands import _outputs
from explorer.commands.finetune import add_weights_arguments, model_source
from explorer.errors import ExplorerError


def add_parser(subparsers: Any) -> None:
    """predict CHECKPOINT IMAGE… [--top N] [--csv FILE]"""
    parser = subparsers.add_parser("predict", help="classify images")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="checkpoint name, folder, or any model source")
    parser.add_argument("images", nargs="+", metavar="IMAGE")
    parser.add_argument("--top", type=int, default=3, metavar="N", help="classes to show per image (default: 3)")
    add_weights_arguments(parser)
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write every image's probabilities to FILE")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the likeliest classes of each image; images that can't be read go to stderr, and the exit code is 2."""
    from explorer.models.registry import check_there, find_source

    if args.csv:
        _outputs.check_output(args.csv, (".csv", ".txt"), args.images)
    source = find_source(args.checkpoint)
    check_there(source)
    if reasons := _none_opens(args.images):
        print("\n".join(f"error: {reason}" for reason in reasons), file=sys.stderr)
        return 2
    from explorer.evaluation.predict import predict, write_predictions
    from explorer.models.loading import load_model

    model = load_model(model_source(args, source))
    found = predict(model, args.images)
    for index, image in enumerate(found.images):
        print(f"{image}: {found.words(index, args.top)}")
    for reason in found.rejected.values():
        print(f"error: {reason}", file=sys.stderr)
    if args.csv:
        write_predictions(args.csv, found)
        print(f"wrote {args.csv}")
    return 2 if found.rejected else 0


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
