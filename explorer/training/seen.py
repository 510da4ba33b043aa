"""Which photos a checkpoint was trained or validated on, kept beside it so that an evaluation can tell them apart."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from explorer.models.registry import EPOCHS, resolve
from explorer.models.source import TrainedFrom
from explorer.training.examples import Examples
from explorer.training.runs.records import fits

SEEN = "seen.json"  # in the checkpoint's folder: it outlives the run
DIGITS = 16  # of the 64 of a file's sha256: enough to tell a billion photos apart
LARGEST_FILE = 2**28  # bytes


@dataclass(frozen=True)
class Seen:
    """The first DIGITS of the sha256 of each photo's file."""

    train: frozenset[str] = frozenset()
    val: frozenset[str] = frozenset()

    def count(self, shas: Iterable[str]) -> tuple[int, int]:
        """How many of the files with these sha256 were trained on, and how many only validated on."""
        short = [sha[:DIGITS] for sha in shas]
        trained = sum(sha in self.train for sha in short)
        return trained, sum(sha in self.val and sha not in self.train for sha in short)

    def warning(self, shas: Sequence[str]) -> str:
        """A sentence about the images among these that are known, which a score doesn't tell the truth about; or ""."""
        trained, validated = self.count(shas)
        if not trained + validated:
            return ""
        parts = [f"{trained:,} in its training"] * bool(trained)
        parts += [f"{validated:,} in its validation"] * bool(validated)
        images = "1 image" if len(shas) == 1 else f"{len(shas):,} images"
        return (
            f"The model knows {trained + validated:,} of these {images} already: {' and '.join(parts)}. New images are "
            "the fair test."
        )


def write_seen(folder: Path, examples: Examples, origin: TrainedFrom) -> None:
    """Write what the examples hold, and what the base model had seen in trainings of its own."""
    before = read_seen(origin.model.source)
    sides = {"train": (examples.train_items, before.train), "val": (examples.val_items, before.val)}
    content = {side: sorted({*old, *(item.sha[:DIGITS] for item in items)}) for side, (items, old) in sides.items()}
    (folder / SEEN).write_text(json.dumps(content), encoding="utf-8")


def read_seen(source: str) -> Seen:
    """What the model of that source has seen, as far as its folder tells; kept epochs look in their checkpoint's."""
    folder = resolve(source)
    if folder.parent.name == EPOCHS:
        folder = folder.parent.parent
    path = folder / SEEN
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_FILE:
            return Seen()
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return Seen()
    if not fits(content, {"train": [str], "val": [str]}):
        return Seen()
    return Seen(frozenset(content["train"]), frozenset(content["val"]))
