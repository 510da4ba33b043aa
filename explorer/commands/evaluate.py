"""evaluate: how good a checkpoint is on a zip or folder of class folders."""

import argparse
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """evaluate CHECKPOINT DATA [--csv FILE]"""
    parser = subparsers.add_parser("evaluate", help="measure a classifier on class folders")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="checkpoint name, folder, or any model source")
    parser.add_argument("data", metavar="DATA", help="zip or folder of class folders")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write every image's probabilities to FILE")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print accuracy, F1, the classes, the confusion matrix and the worst mistakes."""
    import tempfile

    from explorer.data.datasets import read_dataset
    from explorer.models.loading import load_model
    from explorer.training.classify import evaluate, find_source, write_predictions

    model = load_model(find_source(args.checkpoint))
    with tempfile.TemporaryDirectory() as folder:
        data = read_dataset(args.data, out=folder)
        metrics, rows, found = evaluate(model, data)
    side = "validation side of the data" if data.has_split else "all images"
    print(f"{model.name} on {len(rows)} images ({side}), {len(data.rejected)} files left out")
    print(table(metrics))
    print("worst mistakes, by loss:")
    for row in [row for row in rows if row["actual"] != row["predicted"]][:5]:
        print(f"  {row['name']}: {row['actual']}, predicted {row['predicted']} ({row['probability']:.3f})")
    if args.csv:
        write_predictions(args.csv, found, {row["name"]: row["actual"] for row in rows})
        print(f"wrote {args.csv}")
    return 0


def table(metrics: dict[str, Any]) -> str:
    """Scores with their intervals, one line a class that occurs, and the confusion matrix of those classes."""
    lines = []
    for key in ("accuracy", "f1_macro", "f1_weighted", "loss"):
        interval = metrics["intervals"].get(key)
        shown = f"  ({interval[0]:.4f} to {interval[1]:.4f})" if interval else ""
        lines.append(f"{key:<12} {metrics[key]:.4f}{shown}")
    present = [i for i, row in enumerate(metrics["per_class"]) if row["support"]]
    width = max(5, *(len(metrics["class_names"][i]) for i in present))
    lines.append(f"{'class':<{width}}  precision  recall      f1  images  predicted as, in the same order")
    for i in present:
        row = metrics["per_class"][i]
        counts = " ".join(f"{metrics['confusion_matrix'][i][j]:>5}" for j in present)
        numbers = f"{row['precision']:>9.3f} {row['recall']:>7.3f} {row['f1']:>7.3f} {row['support']:>7}"
        lines.append(f"{row['class']:<{width}}  {numbers}  {counts}")
    return "\n".join(lines)
