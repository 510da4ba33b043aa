"""What is known of a model beside its weights: licence, card, and a fine-tuned model's accuracy."""

import json
from typing import Any

from explorer.errors import TrainingError
from explorer.models.backbone import Model
from explorer.models.registry import find, trained_from
from explorer.training.runs.jobs import run_path
from explorer.web.site.page import About


def about_model(model: Model, unsure: float | None = None) -> About:
    """The registry's licence and card, and validation accuracy where the run that made the checkpoint is at hand."""
    entry, origin = find(model.source.source), trained_from(model.source.source)
    metrics = _metrics(origin.run) if origin and origin.run else {}
    accuracy, confusion = metrics.get("accuracy"), metrics.get("confusion")
    return About(
        licence=entry.licence if entry else "",
        card=f"https://huggingface.co/{entry.repo_id}" if entry and entry.repo_id else "",
        accuracy=float(accuracy) if isinstance(accuracy, (int, float)) else None,
        validated=sum(map(sum, confusion)) if isinstance(confusion, list) else None,
        unsure=unsure,
    )


def _metrics(run: str) -> dict[str, Any]:
    try:
        found = json.loads((run_path(run) / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TrainingError):  # a checkpoint may name anything as its run
        return {}
    return found if isinstance(found, dict) else {}
