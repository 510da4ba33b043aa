"""What is known of a model beside its weights: licence, card, and a fine-tuned model's accuracy."""

from pathlib import Path
from typing import Any

from explorer.errors import TrainingError
from explorer.models.backbone import Model
from explorer.models.registry import find, resolve, trained_from
from explorer.training.runs.jobs import read_run
from explorer.web.site.page import About


def about_model(model: Model, unsure: float | None = None) -> About:
    """The registry's licence and card, and validation accuracy where the run that made the checkpoint is at hand."""
    entry, metrics = find(model.source.source), _metrics(model.source.source)
    return About(
        licence=entry.licence if entry else "",
        card=f"https://huggingface.co/{entry.repo_id}" if entry and entry.repo_id else "",
        accuracy=metrics.get("accuracy"),
        validated=sum(map(sum, metrics.get("confusion_matrix", ()))) or None,
        unsure=unsure,
    )


def _metrics(source: str) -> dict[str, Any]:
    """Of the run that wrote this very folder: another run may have got its name, and a kept epoch's differ."""
    origin = trained_from(source)
    if origin is None or not origin.run:
        return {}
    try:
        run = read_run(origin.run)
    except TrainingError:  # a checkpoint may name anything as its run
        return {}
    own = run.options is not None and Path(run.options.checkpoint).resolve() == resolve(source).resolve()
    return run.metrics or {} if own else {}
