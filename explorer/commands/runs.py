"""runs: list the training runs, compare their curves, stop, resume and delete them."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explorer import paths
from explorer.commands import _outputs

if TYPE_CHECKING:
    from explorer.training.runs.jobs import Run


def add_parser(subparsers: Any) -> None:
    """runs [--runs DIR] [--chart FILE] [--stop NAME | --resume NAME | --delete NAME]"""
    parser = subparsers.add_parser("runs", help="list, compare, stop, resume and delete training runs")
    parser.add_argument("--runs", type=Path, metavar="DIR", help="folder of the runs (default: runs)")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="write all validation losses as one HTML chart")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--stop", metavar="NAME", help="stop a run; its best weights are kept")
    action.add_argument("--resume", metavar="NAME", help="go on with a run in the background")
    action.add_argument("--delete", metavar="NAME", help="delete a run's folder; its checkpoint stays")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do what was asked, then print one line per run, newest first."""
    from explorer.training.runs import jobs

    runs = args.runs or paths.runs()
    if args.chart:
        _outputs.check_output(args.chart, (".html", ".htm"))
    for action in ("stop", "resume", "delete"):
        name = getattr(args, action)
        if name:
            getattr(jobs, action)(name, runs)
    found = jobs.list_runs(runs)
    if args.chart:
        from explorer.training.curves import CONFIG, compare_figure

        figure = compare_figure({run.name: run.events() for run in found})
        _outputs.write_output(args.chart, figure.to_html(include_plotlyjs=True, config=CONFIG))
        print(f"wrote {args.chart}")
    print("\n".join([HEADER, *map(line, found)]) if found else f"no runs in {runs}")
    return 0


HEADER = f"{'name':<32} {'status':<14} {'train':<8} {'epochs':>9} {'accuracy':>8} {'f1_macro':>8} {'loss':>7}  model"


def line(run: "Run") -> str:
    """One run: name, status with its place or phase, plan, its scores once it has ended, and what is damaged."""
    state = run.state
    status = (state.phase if state.status == "running" else "") or state.status
    if status == "queued" and state.place:
        status += f", {state.place}."
    scores = f"{'':>8} {'':>8} {'':>7}"
    if run.metrics:
        scores = "{accuracy:>8.4f} {f1_macro:>8.4f} {loss:>7.4f}".format(**run.metrics)
    train, model = run.plan.train if run.plan else "", run.options.model.source if run.options else ""
    last = " ".join(f"{model}  {run.about.title}  {run.damage or ''}".split())
    return f"{run.name:<32} {status:<14} {train:<8} {state.epoch:>4}/{state.epochs:<4} {scores}  {last}".rstrip()
