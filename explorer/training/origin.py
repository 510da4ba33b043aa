"""Where a checkpoint came from: the run that made it, and the model that the run began with."""

from pathlib import Path

from explorer.models import registry
from explorer.training.jobs import list_runs
from explorer.training.options import Options, runs_folder


def options_of(source: str, runs: Path | None = None) -> Options | None:
    """What the run that made a checkpoint was asked for; None where no run of that folder made it.

    source: the checkpoint's registry key or folder. runs: default EXPLORER_RUNS, or runs/ of the project.
    """
    folder = registry.resolve(source).resolve()
    found = (run for run in list_runs(runs or runs_folder()) if run.options and run.state.checkpoint)
    return next((run.options for run in found if Path(str(run.state.checkpoint)).resolve() == folder), None)
