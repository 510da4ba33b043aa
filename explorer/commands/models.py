"""`python -m explorer models`: the models on offer, and which of them open without network."""

import argparse
from dataclasses import replace

from explorer.errors import ExplorerError
from explorer.models import registry

COLUMNS = ("key", "title", "patch", "depth", "heads", "from", "cached")


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser("models", help="list the models on offer")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print one line per model; checkpoints/ is looked through every time."""
    rows = [COLUMNS, *(_row(_measure(entry)) for entry in registry.entries())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print("\nAny other: timm:<id>, hf:<org/name>, a weights file, or a folder saved by timm or transformers.")
    return 0


def _measure(entry: registry.Entry) -> registry.Entry:
    """The entry with the numbers of a local model, which only its files tell; without them where it can't be read."""
    if entry.patch_size or not registry.is_cached(entry):
        return entry
    from explorer.models.formats.trial import trial_reading
    from explorer.models.loading import load_model

    try:
        with trial_reading():
            model = load_model(entry.key, device="cpu")
    except ExplorerError as error:
        return replace(entry, title=f"{entry.title} ({error})")
    return replace(entry, patch_size=model.patch_size, depth=model.depth, num_heads=model.num_heads)


def _row(entry: registry.Entry) -> tuple[str, ...]:
    numbers = ("" if n is None else str(n) for n in (entry.patch_size, entry.depth, entry.num_heads))
    return (entry.key, entry.title, *numbers, entry.where, "yes" if registry.is_cached(entry) else "no")
