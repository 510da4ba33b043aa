"""What a run is asked for besides its plan, and the config.json that keeps both: all that its process is given."""

import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from explorer import paths
from explorer.errors import TrainingError
from explorer.models import registry
from explorer.models.source import ModelSource
from explorer.training.plan import Plan
from explorer.training.runs.folder import RunFolder, State, read_json, write_json
from explorer.training.runs.records import fits

_SOURCE = {"source": PurePath, "arch": (str, None), "num_heads": (int, None), "grid": (str, None)}
_OPTIONS = {
    "data": PurePath, "model": _SOURCE, "checkpoint": PurePath, "onnx": bool, "tensorboard": bool,
    "stored": (PurePath, None),
}  # fmt: skip


@dataclass(frozen=True)
class Options:
    """data and model as finetune takes them; checkpoint: the folder to make; onnx and tensorboard: also write these.

    stored: the folder that holds the data as read already (see explorer.data.store), where there is one.
    """

    data: str
    model: ModelSource
    checkpoint: str
    onnx: bool = False
    tensorboard: bool = False
    stored: str | None = None


def default_checkpoint(run_dir: Path) -> Path:
    """Among the models on offer for a run in the runs folder; else checkpoints/<name> beside a folder "runs" that holds
    the run, or a folder inside the run.
    """
    run_dir = run_dir.resolve()
    if run_dir.parent == paths.runs():
        return paths.checkpoints() / run_dir.name
    if run_dir.parent.name == "runs":
        return run_dir.parent.parent / "checkpoints" / run_dir.name
    return run_dir / "checkpoint"


def new_options(
    folder: RunFolder,
    data: str | Path,
    model: ModelSource,
    *,
    checkpoint: str | Path | None = None,
    stored: Path | None = None,
    onnx: bool = False,
    tensorboard: bool = False,
) -> Options:
    """The options of a new run. Paths become absolute: its process may start, or go on, in another folder."""
    path = Path(data)
    target = checkpoint or default_checkpoint(folder.path)
    model = replace(model, source=registry.lasting(model.source), prompts=())  # a run has classes of its own
    known = None if stored is None else str(stored)
    return Options(str(path.resolve() if path.exists() else data), model, str(target), onnx, tensorboard, known)


def create_run(folder: RunFolder, options: Options, plan: Plan) -> None:
    """Make the folder of a new run with its state and config.json; a run that was refused gives up its name.

    The state comes first, so that a folder without one is never a run whose process was killed just then. Raises
    TrainingError for a name that a run or checkpoint has, and for a folder that holds other files.
    """
    if folder.refused:
        shutil.rmtree(folder.path)
    if folder.state.is_file():
        raise TrainingError(f"There is already a run named {folder.name!r}; choose another name or resume it.")
    there = folder.path.exists()
    if there and any(not path.name.startswith(".state.json.") for path in folder.path.iterdir()):
        raise TrainingError(f"The folder {folder.path} holds other files: name a new folder for the run.")
    target = Path(options.checkpoint)
    if target.exists():  # training must not end by overwriting one
        raise TrainingError(f"There is already a checkpoint named {target.name!r}; choose another name or delete it.")
    folder.path.mkdir(parents=True, exist_ok=there)
    folder.write_state(State("starting", epochs=plan.epochs))
    write_config(folder, options, plan)


def write_config(folder: RunFolder, options: Options, plan: Plan) -> None:
    write_json(folder.config, {**asdict(options), "plan": plan.to_dict()})


def read_config(folder: RunFolder) -> tuple[Options, Plan]:
    """What a run was started with; raises TrainingError where that isn't recorded."""
    config = _filled(read_json(folder.config))
    if not fits(config, _OPTIONS | {"plan": {}}):
        raise TrainingError(f"config.json of the run {folder.name!r} is damaged: it holds no options.")
    source = ModelSource(**{key: config["model"][key] for key in _SOURCE})
    options = {key: config[key] for key in _OPTIONS}
    return Options(**{**options, "model": source}), Plan.from_dict(config["plan"])


def _filled(config: Any) -> Any:
    """The same with what earlier releases left out; up to 0.1.0 the model's settings stood beside "model"."""
    if not isinstance(config, dict):
        return config
    config = {"onnx": False, "tensorboard": False, "stored": None, **config}
    if isinstance(config.get("model"), str):
        beside = {name: config.get(name) for name in ("arch", "num_heads", "grid")}
        config["model"] = {"source": config["model"], **beside}
    return config
