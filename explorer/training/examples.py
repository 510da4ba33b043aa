"""The images a run trains and validates on, read once, kept in dataset.json."""

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from explorer import paths
from explorer.data.builtin import BUILTIN, write_builtin
from explorer.data.changes import read_changes
from explorer.data.datasets import check_trainable, read_dataset
from explorer.data.report import DatasetReport, Item
from explorer.data.splits import assign_splits
from explorer.data.store import find_stored, hand_over
from explorer.errors import DataError, TrainingError
from explorer.files import write_whole
from explorer.training.plan import Plan
from explorer.training.runs.folder import RunFolder
from explorer.visitors.quotas import free_bytes
from explorer.words import size_in_words

SIZES = {"cifar10": 2000}  # images of a built-in set to read; all of the others
SPARE = 200 * 2**20  # bytes left free for events, pictures and whatever else there is


@dataclass(frozen=True)
class Examples:
    """Files and label indices (n,) of both sides, and the items that tell more of them."""

    report: DatasetReport
    train_images: list[Path]
    train_labels: np.ndarray
    val_images: list[Path]
    val_labels: np.ndarray
    val_items: list[Item]
    train_items: list[Item] = field(default_factory=list)

    @staticmethod
    def load(folder: RunFolder, plan: Plan) -> "Examples":
        """From the dataset.json that read_examples wrote."""
        try:
            report = DatasetReport.from_json(folder.dataset.read_text(encoding="utf-8"))
        except (DataError, UnicodeError, RecursionError) as error:
            raise TrainingError(f"dataset.json of the run {folder.name!r} is damaged: start the run again.") from error
        return Examples.of(report, plan)

    @staticmethod
    def of(report: DatasetReport, plan: Plan) -> "Examples":
        """From a report with a split; at most plan.images_per_class training images per class, drawn with the seed."""
        train, val = sample_per_class(report.split_items("train"), plan), report.split_items("val")
        labels = [np.array([item.label for item in items], dtype=np.int64) for items in (train, val)]
        files = [[item.file for item in items] for items in (train, val)]
        return Examples(report, files[0], labels[0], files[1], labels[1], val, train)


def sample_per_class(items: list[Item], plan: Plan) -> list[Item]:
    """At most images_per_class of each class, in their old order."""
    if plan.images_per_class is None:
        return items
    draw = np.random.default_rng(plan.seed)
    kept: list[int] = []
    for label in sorted({item.label for item in items}):
        mine = [index for index, item in enumerate(items) if item.label == label]
        kept += draw.permutation(mine)[: plan.images_per_class].tolist()
    return [items[index] for index in sorted(kept)]


def read_examples(
    folder: RunFolder,
    data: str,
    plan: Plan,
    progress: Callable[[int, int], None],
    given: DatasetReport | Path | None = None,
) -> None:
    """Read and split the data into dataset.json, unless a run that is resumed has it already.

    data: a zip, a folder, or the name of a built-in set where no file or folder is called that. given: what was read
    of it already, as a report or as the folder of explorer.data.store that holds one; its images are linked into the
    run's folder, so that the run needs neither afterwards. Of data that are refused nothing stays in the folder.
    """
    if folder.dataset.is_file():
        return
    with ExitStack() as undo:
        undo.callback(shutil.rmtree, folder.images, ignore_errors=True)
        report = _take_over(folder, data, given) or read_report(data, plan, folder.images, progress)
        report = assign_splits(report, plan.val_fraction, plan.seed)
        if folder.changes.is_file():  # after the split, so that the same photos validate with and without them
            report = read_changes(folder.changes).apply(report)
            check_trainable(report)
        write_whole(folder.dataset, report.to_json())
        undo.pop_all()


def _take_over(folder: RunFolder, data: str, given: DatasetReport | Path | None) -> DatasetReport | None:
    if given is None:
        return None
    stored = isinstance(given, Path)
    report = find_stored(given, Path(data)) if stored else given
    if report is None:  # it was tidied away, or the data changed since
        return None
    check_trainable(report)
    return hand_over(report, folder.images, given.parent if stored else None)


def read_report(data: str, plan: Plan, out: Path, progress: Callable[[int, int], None] | None = None) -> DatasetReport:
    """What a zip, a folder or a built-in set holds; images that have no file yet are written into `out`."""
    if data in BUILTIN and not Path(data).exists():
        data = str(write_builtin(data, out, SIZES.get(data), plan.seed))
    return read_dataset(data, out=out, progress=progress)


def check_disk(folder: RunFolder, cache: int, weights: int) -> None:
    """Raise TrainingError where the bytes that a run writes don't fit on the disk, or in a visitor's share of it."""
    needed = cache + weights + SPARE
    own, free = paths.workspace(), shutil.disk_usage(folder.path).free
    if own is not None:
        free = min(free, free_bytes(own))
    free += _written_before(folder)
    if free < needed:
        smaller = "train without a cache (--cache none), use fewer images per class" if cache else "keep fewer epochs"
        raise TrainingError(
            f"The run needs {size_in_words(needed)} of disk but only {size_in_words(free)} are free; free some space, "
            f"{smaller}, or train the classifier only (--train head)."
        )


def _written_before(folder: RunFolder) -> int:
    """Bytes of a resumed run's files that are counted among those to come, or replaced by them."""
    files = [*folder.cache.glob("*.bin"), *folder.epochs.glob("*"), folder.best, folder.last, folder.resume]
    return sum(path.stat().st_size for path in files if path.is_file())
