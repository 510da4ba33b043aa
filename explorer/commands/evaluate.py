"""evaluate: how good a checkpoint is on a zip or folder of class folders; of other images, what it sees in them."""

import argparse
from collections.abc import Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explorer.commands import _outputs
from explorer.commands._work import Work, add_work_option
from explorer.commands.finetune import add_weights_arguments, model_source
from explorer.errors import DataError
from explorer.words import count_in_words

if TYPE_CHECKING:
    from explorer.data.datasets import Listing
    from explorer.evaluation.predict import Evaluation, Scorer

MATRIX = 20  # classes up to which the confusion matrix is printed
SHOWN = 20  # images without a known class that are printed


def add_parser(subparsers: Any) -> None:
    """evaluate CHECKPOINT DATA [--csv FILE] [--report FILE]"""
    parser = subparsers.add_parser("evaluate", help="measure a classifier on class folders")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="checkpoint name, folder, or any model source")
    parser.add_argument("data", metavar="DATA", help="zip or folder of class folders, or of images")
    add_weights_arguments(parser)
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write every image's probabilities to FILE")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write scores and mistakes as one HTML file")
    add_work_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print accuracy, F1, the classes, the confusion matrix and the worst mistakes."""
    from explorer.data.datasets import open_listing
    from explorer.models.registry import check_there, find_source

    for file, suffixes in ((args.csv, (".csv", ".txt")), (args.report, (".html", ".htm"))):
        if file:
            _outputs.check_output(file, suffixes, [args.data])
    _outputs.check_distinct(args.csv, args.report)
    source = find_source(args.checkpoint)
    check_there(source)
    with open_listing(args.data) as data:
        return _evaluate(args, source, data)


def _evaluate(args: argparse.Namespace, source: str, data: "Listing") -> int:
    """Go through the images of one side, each opened once, and say what was found; 2 where one can't be read."""
    from explorer.evaluation.html_report import html_report
    from explorer.evaluation.predict import Photo, Scorer
    from explorer.evaluation.sharing import BATCH
    from explorer.launch import processes
    from explorer.models.loading import load_model
    from explorer.training.checkpoints import read_seen

    all_, side = processes(), data.side("val") or data.places
    scorer = cache(lambda: Scorer(load_model(model_source(args, source), device=all_.device), data.class_names))
    files = [data.source.file(place.index) or data.path for place in side]
    task = Work(args, files, args.csv or args.report, lambda: scorer().model, all_)

    def work(start: int) -> list[dict[str, Any]]:
        photos = [
            Photo(data.name(place), place.class_name, partial(data.read, place), data.file(place))
            for place in side[start : start + BATCH]
        ]
        rows = scorer().rows(photos)
        for row in () if args.csv else rows:
            row.pop("probabilities", None)  # no one asks for them
        return rows

    found = (row for rows in task.values(range(0, len(side), BATCH), work) for row in rows)
    if not all_.is_main:
        return len(list(found))  # none: the main process says what was found
    made = scorer().together(_write_each(args.csv, scorer(), found) if args.csv else found)
    if not made.rows:
        name, reason = next(iter(made.found.rejected.items()))
        raise DataError(f"None of the {len(side):,} images of '{data.path.name}' can be used; '{name}': {reason}")
    if args.report:
        page = html_report(made, scorer().model.name, data.path.name, notes=data.notes, read=data.read_named)
        _outputs.write_output(args.report, page)
    part = "validation side of the data" if len(side) < len(data.places) else "all images"
    _count(task, made, scorer().model.name, part)
    show(made, [*data.notes, *made.notes, read_seen(scorer().model.source.source).warning(_hashes(made))])
    for file in filter(None, (args.csv, args.report)):
        print(f"wrote {file}")
    return task.finish()


def _count(task: Work, made: "Evaluation", model: str, part: str) -> None:
    """Print how many images there are, and name those that can't be read."""
    left_out = count_in_words(len(made.found.rejected), "file")
    print(f"{model} on {count_in_words(len(made.rows), 'image')} ({part}), {left_out} left out")
    for name, reason in made.found.rejected.items():
        task.fail(f"{name}: {reason}")


def _write_each(path: Path, scorer: "Scorer", rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows, each written to a CSV as it passes, without its probabilities."""
    from explorer.evaluation.predict import open_rows, prediction_cells, prediction_columns

    names, outputs = scorer.class_names, scorer.model.outputs
    with open_rows(path, prediction_columns(names, outputs, actual=bool(scorer.known))) as file:
        for row in rows:
            if probabilities := row.pop("probabilities", None):
                actual = row["actual"] if scorer.known else None
                file.writerow(prediction_cells(row["name"], probabilities, names, outputs, actual))
            yield row


def show(made: "Evaluation", notes: Iterable[str | None]) -> None:
    """The notes, then the scores and worst mistakes, or predictions where no class is known."""
    for note in filter(None, notes):
        print(note)
    if made.metrics is None:
        show_predictions(made.rows)
    else:
        print(table(made.metrics))
        show_mistakes(made.rows)


def _hashes(made: "Evaluation") -> list[str]:
    return [row["sha"] for row in made.rows]


def show_mistakes(rows: list[dict[str, Any]]) -> None:
    """The five with the highest loss."""
    print("worst mistakes, by loss:")
    for row in [row for row in rows if row["actual"] not in ("", row["predicted"])][:5]:
        print(f"  {row['name']}: {row['actual']}, predicted {row['predicted']} ({row['probability']:.3f})")


def show_predictions(rows: list[dict[str, Any]]) -> None:
    """The likeliest class of the first images."""
    for row in rows[:SHOWN]:
        print(f"  {row['name']}: {row['predicted']} ({row['probability']:.3f})")
    if len(rows) > SHOWN:
        print(f"  and {len(rows) - SHOWN} more; --csv FILE writes them all")


def table(metrics: dict[str, Any]) -> str:
    """Scores with their intervals, one line per class that occurs and, for a few classes, the confusion matrix."""
    lines = []
    for key in ("accuracy", "f1_macro", "f1_weighted", "loss"):
        interval = metrics["intervals"].get(key)
        shown = f"  ({interval[0]:.4f} to {interval[1]:.4f})" if interval else ""
        lines.append(f"{key:<12} {metrics[key]:.4f}{shown}")
    present = [i for i, row in enumerate(metrics["per_class"]) if row["support"]]
    matrix = len(present) <= MATRIX
    width = max(5, *(len(metrics["class_names"][i]) for i in present))
    heading = "  predicted as, in the same order" if matrix else ""
    lines.append(f"{'class':<{width}}  precision  recall      f1  images{heading}")
    for i in present:
        row = metrics["per_class"][i]
        counts = " ".join(f"{metrics['confusion_matrix'][i][j]:>5}" for j in present) if matrix else ""
        numbers = f"{row['precision']:>9.3f} {row['recall']:>7.3f} {row['f1']:>7.3f} {row['support']:>7}"
        lines.append(f"{row['class']:<{width}}  {numbers}  {counts}".rstrip())
    return "\n".join(lines)
