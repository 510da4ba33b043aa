"""What a run leaves behind: metrics, predictions, epochs.csv, curves.html and the checkpoint."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from explorer.training.checkpoints import save_checkpoint
from explorer.training.curves import write_csv, write_html
from explorer.training.evaluation import predictions, report
from explorer.training.events import epochs_of, read_events
from explorer.training.export import export_onnx
from explorer.training.folder import write_json
from explorer.training.saves import kept_epochs

if TYPE_CHECKING:
    from explorer.training.work import Work


def save_results(work: "Work", logits: np.ndarray, status: str) -> dict[str, Any]:
    """Write all files for the best weights, which are loaded; logits (n, classes) of validation. Returns metrics."""
    examples, folder, saved = work.examples, work.folder, work.saved
    names = examples.report.class_names
    metrics = {
        **report(logits, examples.val_labels, names),
        "best_epoch": saved.best_epoch,
        "baseline": dict(saved.baseline),
        "knn_accuracy": saved.knn_accuracy,
    }
    events = read_events(folder.events)
    write_csv(folder.path / "epochs.csv", epochs_of(events))
    write_html(folder.path / "curves.html", folder.name, events, saved.baseline)
    rows = predictions(logits, examples.val_labels, examples.val_items, names)
    write_json(folder.predictions, rows)
    checkpoint = Path(work.options.checkpoint)
    save_checkpoint(
        checkpoint, work.split.whole, work.model, work.split.size, work.plan, examples, metrics, kept_epochs(folder)
    )
    if work.options.onnx:
        export_onnx(work.split.whole, checkpoint / "model.onnx", work.split.size)
    write_json(folder.metrics, metrics)
    if status == "finished":
        for path in (folder.cache, folder.epochs):
            shutil.rmtree(path, ignore_errors=True)
    work.reporter.emit("end", status=status)
    work.reporter.update(status=status, phase="", progress=1.0, seconds_left=None, checkpoint=str(checkpoint))
    return metrics
