"""The command line: `python -m explorer COMMAND …`; each command is a module of explorer.commands."""

import argparse
import pkgutil
import sys
from collections.abc import Sequence
from importlib import import_module

import explorer.commands
from explorer.errors import ExplorerError


def build_parser() -> argparse.ArgumentParser:
    """The parser with every module of explorer.commands as a subcommand, in alphabetical order."""
    parser = argparse.ArgumentParser(prog="python -m explorer", description="See where a Vision Transformer looks.")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in pkgutil.iter_modules(explorer.commands.__path__):
        if not module.name.startswith("_"):
            import_module(f"explorer.commands.{module.name}").add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 done, 2 bad input with one line on stderr."""
    args = build_parser().parse_args(argv)
    try:
        return args.run(args)
    except ExplorerError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
