"""What a run is asked for besides its plan, and the config.json that keeps both."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from explorer.errors import TrainingError
from explorer.models import registry
from explorer.models.source import ModelSource
from explorer.training.folder import RunFolder, read_json, write_json
from explorer.training.plan import Plan


@dataclass(frozen=True)
class Options:
    """data and model as finetune takes them; checkpoint: the folder to make; onnx and tensorboard: also write these."""

    data: str
    model: ModelSource
    checkpoint: str
    onnx: bool = False
    tensorboard: bool = False


def runs_folder() -> Path:
    """EXPLORER_RUNS, or runs/ of the project."""
    return Path(os.environ.get("EXPLORER_RUNS") or Path(__file__).resolve().parents[2] / "runs").resolve()


def default_checkpoint(run_dir: Path) -> Path:
    """Among the models on offer for a run in runs_folder(); else checkpoints/<name> beside a folder "runs" that holds
    the run, or a folder inside the run.
    """
    run_dir = run_dir.resolve()
    if run_dir.parent == runs_folder():
        return registry.CHECKPOINTS.resolve() / run_dir.name
    if run_dir.parent.name == "runs":
        return run_dir.parent.parent / "checkpoints" / run_dir.name
    return run_dir / "checkpoint"


def write_config(folder: RunFolder, options: Options, plan: Plan) -> None:
    write_json(folder.config, {**asdict(options), "plan": plan.to_dict()})


def read_config(folder: RunFolder) -> tuple[Options, Plan]:
    """What a run was started with; raises TrainingError where that isn't recorded."""
    config = read_json(folder.config)
    try:
        plan, options = Plan.from_dict(config.pop("plan")), _with_model(config)
        return Options(**{**options, "model": ModelSource(**options["model"])}), plan
    except (KeyError, TypeError, AttributeError) as error:
        raise TrainingError(f"config.json of the run {folder.name!r} is damaged ({error}).") from error


def _with_model(config: dict[str, Any]) -> dict[str, Any]:
    """The same with the model's settings below "model"; up to release 0.1.0 they stood beside it."""
    if isinstance(config["model"], dict):
        return config
    beside = {name: config.pop(name) for name in ("arch", "num_heads", "grid") if name in config}
    return {**config, "model": {"source": config["model"], **beside}}
