"""finetune: train a model on your own images from the command line."""

import argparse
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from explorer import garbage, paths
from explorer.models.source import ModelSource
from explorer.training.plan import Plan
from explorer.visitors.passes import spin_briefly

if TYPE_CHECKING:
    from explorer.training.finetune import Result
    from explorer.training.runs.folder import RunFolder, State
    from explorer.training.runs.reporter import Progress

ASKED = "resume", "stop_after", "onnx", "tensorboard", "changes"  # what finetune() takes as it is typed
# Bad input is found in these phases, and is to be a single line on stderr.
SILENT = "reading", "loading"
EXAMPLE = "example: python -m explorer finetune photos.zip --model bundled --train head --epochs 10"


def add_parser(subparsers: Any) -> None:
    """finetune DATA --model SOURCE, and one option for each setting of a plan."""
    parser = subparsers.add_parser("finetune", help="train a model on your own images", epilog=EXAMPLE)
    parser.add_argument("data", nargs="?", metavar="DATA", help="zip or folder of class folders; or digits, cifar10")
    parser.add_argument("--model", default="bundled", metavar="SOURCE", help="base model (default: bundled)")
    add_weights_arguments(parser)
    parser.add_argument("--name", help="name of the run and of its checkpoint (default: made from DATA)")
    parser.add_argument("--runs", type=Path, metavar="DIR", help="folder of the runs (default: runs)")
    parser.add_argument("--resume", action="store_true", help="go on with the stopped or killed run --name")
    parser.add_argument("--stop-after", type=int, metavar="EPOCHS", help="stop after so many epochs; resumable")
    parser.add_argument("--estimate", action="store_true", help="only say how long it will take, and how much disk")
    parser.add_argument("--changes", type=Path, metavar="FILE", help="photos to leave out or to give another class")
    parser.add_argument("--onnx", action="store_true", help="also write model.onnx into the checkpoint")
    parser.add_argument("--tensorboard", action="store_true", help="also write TensorBoard logs into the run")
    add_plan_arguments(parser)
    parser.set_defaults(run=run)


def add_weights_arguments(parser: argparse.ArgumentParser) -> None:
    """--arch, --num-heads and --grid, for bare weights files."""
    parser.add_argument("--arch", metavar="ID", help="timm name of the architecture, where a weights file can't tell")
    parser.add_argument("--num-heads", type=int, metavar="N", help="where a weights file can't tell")
    parser.add_argument("--grid", metavar="ROWSxCOLS", help="of a weights file's position embeddings, where no square")


def model_source(args: argparse.Namespace, source: str) -> ModelSource:
    """That model, with what those three options say of it."""
    return ModelSource(source, args.arch, args.num_heads, args.grid)


def add_plan_arguments(parser: argparse.ArgumentParser) -> None:
    """One option for each field of Plan, with its help and default."""
    hints = get_type_hints(Plan)
    group = parser.add_argument_group("plan")
    for entry in fields(Plan):
        option, help = "--" + entry.name.replace("_", "-"), entry.metadata["help"].replace("%", "%%")
        if hints[entry.name] is bool:
            group.add_argument(option, action="store_true", help=help)
            continue
        kind = next((kind for kind in get_args(hints[entry.name]) if kind is not type(None)), hints[entry.name])
        shown = "" if entry.default is None else f" (default: {entry.default})"
        choices = entry.metadata["choices"]
        metavar = None if choices else entry.name.upper()
        group.add_argument(
            option, type=kind, default=entry.default, choices=choices, metavar=metavar, help=help + shown
        )


def run(args: argparse.Namespace) -> int:
    """Train in this process, with a bar or lines and a final table; Ctrl-C stops and keeps the best so far."""
    spin_briefly()  # before torch is imported, which the lines below do
    from explorer.errors import TrainingError
    from explorer.training.runs.folder import RunFolder
    from explorer.training.runs.jobs import free_name, run_path
    from explorer.training.runs.reporter import progress_display

    runs = args.runs or paths.runs()
    plan = Plan(**{entry.name: getattr(args, entry.name) for entry in fields(Plan)})
    if args.resume and not args.name:
        raise TrainingError("--resume needs --name, the name of the run to go on with.")
    if not args.resume and not args.data:
        raise TrainingError(f"finetune needs DATA, a zip or folder of class folders; {EXAMPLE}.")
    if args.stop_after is not None and args.stop_after < 1:
        raise TrainingError(f"--stop-after must be at least 1 epoch, not {args.stop_after}.")
    if not args.name and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise TrainingError("A launch of several processes needs --name, so that all of them write one run.")
    name = args.name or free_name(args.data, plan.train, runs)
    folder = RunFolder(run_path(name, runs))
    model = model_source(args, args.model)
    asked = {key: getattr(args, key) for key in ASKED}
    if not args.resume:
        _check_inputs(args)
    if args.estimate:
        print(*_estimate(args, model, plan.resolved(), runs), sep="\n")
        return 0
    with garbage.left_out():
        from explorer.training.finetune import finetune  # slow to import: torch, timm, accelerate

    with stop_on_signals(folder.stop_request):
        if int(os.environ.get("RANK", 0)):  # another process of a launch: the first one talks
            finetune(args.data or "", model, plan, folder.path, progress=False, **asked)
            return 0
        with progress_display(name, True, SILENT) as show:
            found = show_data_first(folder, show)
            result = finetune(args.data or "", model, plan, folder.path, progress=found, **asked)
    print(summary(result))
    return 0


def _estimate(args: argparse.Namespace, source: ModelSource, plan: Plan, runs: Path) -> list[str]:
    """What was found in the data, and what the plan will cost, in sentences."""
    import shutil
    import tempfile

    from explorer.data.splits import assign_splits
    from explorer.models.loading import load_model
    from explorer.training.estimate import cache_warning, cost_line, estimate, kind_of
    from explorer.training.examples import Examples, read_report
    from explorer.training.runs.jobs import list_runs

    with tempfile.TemporaryDirectory() as folder:
        report = assign_splits(read_report(args.data, plan, Path(folder)), plan.val_fraction, plan.seed)
        examples, model = Examples.of(report, plan), load_model(source)
        images = (len(examples.train_images), len(examples.val_images))
        cost = estimate(model, plan, report.class_names, examples.train_images, images[1], str(model.device))
    cost = cost.learned_from(list_runs(runs), kind_of(source, plan), images)
    free = shutil.disk_usage(next(folder for folder in (runs, *runs.parents) if folder.is_dir())).free
    return [*report.lines(), cost_line(cost, plan, free).replace("**", ""), *filter(None, [cache_warning(cost, free)])]


def _check_inputs(args: argparse.Namespace) -> None:
    """Refuse data and a model that can't be used, as far as their files' names tell."""
    from explorer.data.builtin import BUILTIN
    from explorer.data.datasets import check_listing
    from explorer.models.registry import check_there

    if args.data not in BUILTIN or Path(args.data).exists():
        check_listing(args.data)
    check_there(args.model)


def show_data_first(folder: "RunFolder", show: "Progress | None") -> "Progress":
    """`show`, but with what was found in the data first: which classes, how many images, what validates."""
    from explorer.data.report import DatasetReport

    printed = False

    def also(state: "State") -> None:
        nonlocal printed
        if not printed and state.phase not in ("", *SILENT) and folder.dataset.is_file():
            printed = True
            print(*DatasetReport.from_json(folder.dataset.read_text(encoding="utf-8")).lines(), sep="\n", flush=True)
        if show:
            show(state)

    return also


@contextmanager
def stop_on_signals(request: Path) -> Iterator[None]:
    """Ctrl-C and SIGTERM ask the run to stop after its current step, as the Stop button does."""

    def ask(*_: object) -> None:
        if request.parent.is_dir():
            request.touch()

    before = {kind: signal.signal(kind, ask) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def _gain(metrics: Mapping[str, Any]) -> str:
    """What the training added to the neighbours, and whether chance alone could."""
    from explorer.evaluation.paired import Gain

    if "over_neighbours" not in metrics:
        return ""
    gain = Gain(sum(map(sum, metrics["confusion_matrix"])), **metrics["over_neighbours"])
    verdict = "within the noise" if gain.within_noise else "more than chance"
    low, high = gain.interval
    return f"; gain {gain.share:+.4f} ({low:+.4f} to {high:+.4f}), {verdict} (McNemar p = {gain.chance:.2g})"


def summary(result: "Result") -> str:
    """The final table: before and after, and where the files are."""
    metrics = result.metrics
    if not metrics:
        return f"Stopped before the training began; {result.run_dir} can be resumed."
    lines = [f"{'':<12} {'untrained':>10} {result.status:>10}  95 % interval"]
    for key in ("accuracy", "f1_macro", "f1_weighted", "loss"):
        interval = metrics["intervals"].get(key)
        shown = f"{interval[0]:.4f} to {interval[1]:.4f}" if interval else ""
        lines.append(f"{key:<12} {metrics['baseline'][key]:>10.4f} {metrics[key]:>10.4f}  {shown}".rstrip())
    lines += [
        f"nearest neighbours on frozen features {metrics['knn_accuracy']:.4f}{_gain(metrics)}",
        f"best epoch   {metrics['best_epoch']}",
        f"run          {result.run_dir}",
        f"checkpoint   {result.checkpoint}",
    ]
    return "\n".join(lines)
