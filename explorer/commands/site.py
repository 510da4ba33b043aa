"""`python -m explorer site`: a web page with the model inside, for any host of files or a double click."""

import argparse
from pathlib import Path
from typing import Any

from explorer import paths
from explorer.commands.finetune import add_weights_arguments, model_source

HOSTS = (
    "GitHub Pages, Cloudflare Pages and Hugging Face (a static Space) host such a folder for nothing; "
    "a QR code or a short link to it is up to you."
)


def add_parser(subparsers: Any) -> None:
    """site --model SOURCE --out DIR [--single-file] [--full-precision] [--webgpu] [--unsure P]"""
    parser = subparsers.add_parser(
        "site", help="write a web page that runs the model in the visitor's browser", epilog=HOSTS
    )
    parser.add_argument("--model", default="bundled", metavar="SOURCE", help="what the page shows (default: bundled)")
    add_weights_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder for the page")
    parser.add_argument("--single-file", action="store_true", help="all in index.html, which then opens from a disk")
    parser.add_argument("--full-precision", action="store_true", help="weights in float32: twice the download")
    parser.add_argument("--webgpu", action="store_true", help="with the larger runtime that uses a visitor's GPU where "
                        "that gives the same numbers sooner")  # fmt: skip
    parser.add_argument("--unsure", type=float, metavar="P", help="say that it is unsure below this probability")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Load the model, write its page and name it."""
    from explorer.errors import ModelError
    from explorer.models.registry import check_there

    if args.unsure is not None and not 0 < args.unsure < 1:
        raise ModelError(f"--unsure is a probability between 0 and 1, not {args.unsure:g}.")
    if args.out.resolve() == paths.project():
        raise ModelError("--out must be a new folder, not the project's own.")
    check_there(args.model)
    from explorer.models.loading import load_model
    from explorer.models.onnx import check_exporter
    from explorer.web.site.about import about_model
    from explorer.web.site.page import check_new, write_site

    check_new(args.out)
    check_exporter("A page of the model")  # before the model is read
    model = load_model(model_source(args, args.model), device="cpu")
    about = about_model(model, args.unsure)
    half = not args.full_precision
    print(write_site(model, args.out, about, args.single_file, half=half, webgpu=args.webgpu))
    return 0
