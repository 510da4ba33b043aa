"""What a run leaves behind besides the checkpoint: metrics, predictions, epochs.csv and curves.html."""

from typing import Any

import numpy as np

from explorer.evaluation.metrics import predictions, report
from explorer.training.curves import write_csv, write_html
from explorer.training.examples import Examples
from explorer.training.runs.events import epochs_of, read_events
from explorer.training.runs.folder import RunFolder, write_json
from explorer.training.runs.snapshots import Saved


def final_metrics(logits: np.ndarray, examples: Examples, saved: Saved) -> dict[str, Any]:
    """What metrics.json holds: how good the best weights are, logits (n, classes) of validation, and the baseline."""
    return {
        **report(logits, examples.val_labels, examples.report.class_names),
        "best_epoch": saved.best_epoch,
        "baseline": dict(saved.baseline),
        "knn_accuracy": saved.knn_accuracy,
    }


def write_results(folder: RunFolder, logits: np.ndarray, examples: Examples, saved: Saved) -> None:
    """Write the curves and every prediction for logits (n, classes) of validation into the run's folder."""
    events, names = read_events(folder.events), examples.report.class_names
    write_csv(folder.path / "epochs.csv", epochs_of(events))
    write_html(folder.path / "curves.html", folder.name, events, saved.baseline)
    write_json(folder.predictions, predictions(logits, examples.val_labels, examples.val_items, names))
