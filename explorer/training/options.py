"""What a run is asked for besides its plan, and the config.json that keeps both."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path

from explorer.errors import TrainingError
from explorer.models import registry
from explorer.training.folder import RunFolder, read_json, write_json
from explorer.training.plan import Plan


@dataclass(frozen=True)
class Options:
    """data and model as finetune takes them; checkpoint: the folder to make; onnx and tensorboard: also write these.

    stored: the folder that holds the data as read already (see explorer.data.store), where there is one.
    arch, num_heads and grid ("ROWSxCOLS"): what a bare weights file can't tell, as load_model takes them.
    """

    data: str
    model: str
    checkpoint: str
    onnx: bool = False
    tensorboard: bool = False
    arch: str | None = None
    num_heads: int | None = None
    grid: str | None = None
    stored: str | None = None


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
        return Options(**{key: value for key, value in config.items() if key != "plan"}), Plan.from_dict(config["plan"])
    except (KeyError, TypeError, AttributeError) as error:
        raise TrainingError(f"config.json of the run {folder.name!r} is damaged ({error}).") from error
