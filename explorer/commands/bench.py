"""`python -m explorer bench`: which map tells the truth about this model, on your own photos."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explorer.attention.maps.table import MAP_KINDS
from explorer.commands import _outputs, _view
from explorer.commands._progress import Display
from explorer.words import count_in_words, duration_in_words

if TYPE_CHECKING:
    from explorer.evaluation.bench.run import Bench
    from explorer.evaluation.bench.table import Table

# The columns that are printed.
SHOWN = ("srg_grey", "srg_p_grey", "srg_blur", "srg_dropped", "srg_road", "auc", "iou", "pointing", "seg_iou", "sanity")
FILES = ("table.csv", "photos.csv", "table.json", "report.html")
LONG = 60.0  # seconds from which a first look is worth a word
EXAMPLE = "example: python -m explorer bench photos --masks masks --maps all attention:layer=9 --without occlusion"


def add_parser(subparsers: Any) -> None:
    """bench PHOTOS [--masks MASKS] [--maps ...] --out DIR"""
    parser = subparsers.add_parser("bench", help="measure which map tells the truth on your photos", epilog=EXAMPLE)
    parser.add_argument("source", metavar="PHOTOS", type=Path, help="folder or zip of photos")
    parser.add_argument("--masks", type=Path, help="folder or zip with a mask of the same name for each photo, or some")
    kinds = f"all, or any of {', '.join(MAP_KINDS)}; with settings as rollout:discard_ratio=0.9 (default: all)"
    parser.add_argument("--maps", nargs="+", default=["all"], metavar="MAP", help=kinds)
    parser.add_argument("--without", nargs="+", default=[], metavar="MAP", help="kinds that all leaves out: occlusion")
    parser.add_argument("--ways", nargs="*", metavar="WAY", help="of removing patches: grey, blur, dropped, road "
                        "(default: all; without a word none, for masks alone)")  # fmt: skip
    parser.add_argument("--photos", type=int, default=100, metavar="N", help="the first so many (default: 100)")
    parser.add_argument("--skip", type=int, default=0, metavar="N", help="pass over so many photos first")
    parser.add_argument("--sanity", type=int, default=4, metavar="N",
                        help="photos that models with random layers see, too; 0: none (default: 4)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="folder of the tables and the report")
    _view.add_model_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure photo after photo (progress on stderr), write tables and report, print the table and the verdicts.

    Photos and masks that can't be read are named on stderr, and the exit code is 2.
    """
    from explorer.errors import DataError
    from explorer.evaluation.bench.contenders import entrants
    from explorer.evaluation.bench.photos import open_photos
    from explorer.evaluation.bench.run import Bench, Plan
    from explorer.evaluation.bench.table import table
    from explorer.evaluation.bench.ways import WAYS
    from explorer.evaluation.sharing import ABOUT, Journal, Shared, about
    from explorer.launch import processes

    if args.photos < 1 or args.skip < 0 or args.sanity < 0:
        raise DataError("--photos must be 1 or more, --skip and --sanity 0 or more.")
    ways = tuple(WAYS) if args.ways is None else tuple(args.ways)
    plan = Plan(entrants(args.maps, args.without), ways, args.size, args.fit, args.sanity, args.seed)
    all_ = processes()
    _outputs.check_own_folder(args.out, FILES, ABOUT)
    with open_photos(args.source, args.masks, args.photos, args.skip) as photos:
        model = _view.open_model(args, all_.device)
        show = Display(count_in_words(len(photos), "photo"), at_once=True) if all_.is_main else None
        bench = Bench(model, photos, plan, show)
        of = about(model, [photo.name for photo in photos], plan.in_words())
        shared = Shared(len(bench), all_, Journal(args.out, all_.index), lambda: of)
        bench.expect(shared.left(), shared.done())
        if all_.is_main and shared.left():
            _announce(bench)
        found = list(shared.values(bench.measure))
    if not all_.is_main:
        return 0
    result = table(found, plan)
    _finish(args, model.name, found, result)
    return 2 if result.refused else 0


def _announce(bench: "Bench") -> None:
    """How long it will take, before it starts, and how to have a first look sooner."""
    about = bench.estimate()
    if about is None:
        return
    said = f"about {duration_in_words(about.seconds)} on this machine"
    if about.checks > 0.1 * about.seconds:
        said += f", of which the sanity check takes {duration_in_words(about.checks)}"
    light = bench.plan.light()
    if bench.plan != light and about.seconds > LONG:
        slow = ", ".join(each.name for each in bench.plan.entrants if each not in light.entrants)
        without = f" without {slow}" if slow else ""
        said += f"; for a first look --ways grey --sanity 0{without} takes {duration_in_words(about.light)}"
    print(said, file=sys.stderr, flush=True)


def _finish(args: argparse.Namespace, model: str, lines: list[dict[str, Any]], found: "Table") -> None:
    from explorer.evaluation.bench.report import html_report
    from explorer.evaluation.bench.table import markdown, write_files

    facts = {"model": model, "source": str(args.source)}
    write_files(found, lines, args.out, **facts)
    page = html_report(found, f"{model} on {args.source.name}", facts)
    (args.out / "report.html").write_text(page, encoding="utf-8", errors="backslashreplace")
    print(f"{model}, {count_in_words(found.photos, 'photo')}, best first by {found.main.title}\n")
    print(markdown(found, SHOWN))
    for verdict in found.against_the_best():
        print(verdict.words())
    for name, why in {**found.refused, **found.failed}.items():
        print(f"left out: {name}: {why}", file=sys.stderr)
    print(f"\nwrote {args.out / 'report.html'}, table.csv, table.json and photos.csv")
