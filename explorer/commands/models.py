"""`python -m explorer models`: the models on offer, and which of them open without network."""

import argparse

from explorer.models import registry

COLUMNS = ("key", "title", "patch", "depth", "heads", "from", "cached")


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser("models", help="list the models on offer")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print one line a model; checkpoints/ is looked through every time."""
    rows = [COLUMNS, *map(_row, registry.entries())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print("\nAny other: timm:<id>, hf:<org/name>, a weights file, or a folder saved by timm or transformers.")
    return 0


def _row(entry: registry.Entry) -> tuple[str, ...]:
    numbers = ("" if n is None else str(n) for n in (entry.patch_size, entry.depth, entry.num_heads))
    return (entry.key, entry.title, *numbers, entry.where, "yes" if registry.is_cached(entry) else "no")
