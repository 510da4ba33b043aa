"""predict: what a checkpoint sees in images."""

import argparse
import sys
from pathlib import Path
from typing import Any

from explorer.commands import _outputs
from explorer.commands.finetune import add_weights_arguments, model_source


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
    from explorer.evaluation.predict import find_source, predict, write_predictions
    from explorer.models.loading import load_model

    if args.csv:
        _outputs.writable(args.csv, inputs=args.images)
    model = load_model(model_source(args, find_source(args.checkpoint)))
    found = predict(model, args.images)
    for index, image in enumerate(found.images):
        print(f"{image}: {found.words(index, args.top)}")
    for reason in found.rejected.values():
        print(f"error: {reason}", file=sys.stderr)
    if args.csv:
        write_predictions(args.csv, found)
        print(f"wrote {args.csv}")
    return 2 if found.rejected else 0
