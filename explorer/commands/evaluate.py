"""evaluate: how good a checkpoint is on a zip or folder of class folders; of other images, what it sees in them."""

import argparse
from pathlib import Path
from typing import Any

from explorer.commands import _outputs
from explorer.commands.finetune import add_weights_arguments, model_source

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
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print accuracy, F1, the classes, the confusion matrix and the worst mistakes."""
    import tempfile

    from explorer.data.datasets import check_listing, read_images
    from explorer.models.registry import check_there, find_source

    for file, suffixes in ((args.csv, (".csv", ".txt")), (args.report, (".html", ".htm"))):
        if file:
            _outputs.check_output(file, suffixes, [args.data])
    _outputs.check_distinct(args.csv, args.report)
    source = find_source(args.checkpoint)
    check_there(source)
    check_listing(args.data, to_train=False)
    from explorer.evaluation.html_report import html_report
    from explorer.evaluation.predict import evaluate, write_predictions
    from explorer.models.loading import load_model
    from explorer.training.checkpoints import read_seen

    model = load_model(model_source(args, source))
    with tempfile.TemporaryDirectory() as folder:
        data = read_images(args.data, out=folder)
        made = evaluate(model, data)
        if args.report:  # while the photos are there
            page = html_report(made, model.name, Path(args.data).name, notes=data.notes)
            args.report.write_text(page, "utf-8", "backslashreplace")
    side = "validation side of the data" if len(made.rows) < len(data.items) else "all images"
    print(f"{model.name} on {len(made.rows)} images ({side}), {len(data.rejected)} files left out")
    hashes = {item.name: item.sha for item in data.items}
    known = read_seen(model.source.source).warning([hashes[row["name"]] for row in made.rows])
    for note in (*data.notes, *made.notes, *([known] if known else [])):
        print(note)
    if made.metrics is None:
        show_predictions(made.rows)
    else:
        print(table(made.metrics))
        show_mistakes(made.rows)
    if args.csv:
        write_predictions(args.csv, made.found, made.actual)
        print(f"wrote {args.csv}")
    if args.report:
        print(f"wrote {args.report}")
    return 0


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
