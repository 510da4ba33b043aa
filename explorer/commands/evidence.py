"""`python -m explorer evidence`: deletion and insertion curves of some maps, over one photo or many."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from explorer.attention.maps.table import MAP_KINDS
from explorer.commands import _outputs, _view
from explorer.commands._work import Work
from explorer.launch import Processes
from explorer.words import count_in_words

if TYPE_CHECKING:
    import numpy as np

    from explorer.attention.recording import Recording

EXAMPLE = "example: python -m explorer evidence photos/*.jpg --maps attention rollout relevance --out curves.pdf"


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """evidence PHOTO… --maps attention relevance [--removals 10] [--fill mean] [--csv FILE] [--out FILE]"""
    parser = subparsers.add_parser(
        "evidence", help="does the class depend on what maps mark? curves over one photo or many", epilog=EXAMPLE
    )
    parser.add_argument("photos", nargs="+", metavar="PHOTO", help="photos, or folders of them")
    parser.add_argument("--maps", nargs="+", choices=tuple(MAP_KINDS), default=["attention"], help="kinds of map")
    parser.add_argument("--removals", type=int, default=10, help="steps in which patches are removed (default: 10)")
    parser.add_argument("--fill", choices=("mean", "blur"), default="mean", help="what a removed patch shows")
    parser.add_argument("--csv", type=Path, help="write every step of every curve to this file")
    parser.add_argument("--out", type=Path, help="draw the curves as SVG or PDF: mean and standard deviation")
    _view.add_settings(parser, *(setting for kind in MAP_KINDS.values() for setting in kind.settings))
    _view.add_model_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print each order's areas, mean and spread over photos; photos that can't be read go to stderr."""
    from explorer.data.images import open_image
    from explorer.data.sources import find_images

    photos = find_images(args.photos)
    for path, suffixes in ((args.csv, (".csv", ".txt")), (args.out, (".svg", ".pdf"))):
        if path:
            _outputs.check_output(path, suffixes, photos)
    _outputs.check_distinct(args.csv, args.out)
    model, found = _view.model_once(args), {}

    def work(pair: tuple[str, str]) -> None:
        file, name = pair
        photo = open_image(file)  # before the model
        recording = _view.record_image(args, model(), photo)
        from explorer.attention.evidence import evidence

        found[name] = evidence(recording, _maps(args, recording), args.target, args.removals, args.fill)

    names = _outputs.unique_stems(photos, endings=())
    task = Work(args, photos, None, model, Processes())  # curves are kept in memory, so one process
    for _ in task.each(list(zip(photos, names, strict=True)), work, lambda pair: Path(pair[0]).name):
        pass
    if not found:
        return task.finish()
    from explorer.attention.evidence_mean import mean_bands, to_csv

    bands = mean_bands(list(found.values()))
    print(table(bands))
    if args.csv:
        _outputs.write_output(args.csv, to_csv(found))
    if args.out:
        from explorer.rendering.evidence_drawing import evidence_drawing

        drawing = evidence_drawing(bands, f"{model().name}, {count_in_words(len(found), 'photo')}")
        _outputs.write_output(args.out, drawing.svg() if args.out.suffix.lower() == ".svg" else drawing.pdf())
    for path in filter(None, (args.csv, args.out)):
        print(f"wrote {path}")
    return task.finish()


def _maps(args: argparse.Namespace, recording: "Recording") -> "dict[str, np.ndarray]":
    """Each kind's map, with those of the options that it takes."""
    maps = {}
    for name in args.maps:
        settings = {setting: getattr(args, setting) for setting in MAP_KINDS[name].defaults if hasattr(args, setting)}
        maps[name] = recording.map_with_note(name, **settings)[0]  # its order counts, not its sum
    return maps


def table(bands) -> str:
    """A line per order: the mean area of its deletion and insertion, with their standard deviations."""
    from explorer.attention.evidence_mean import spread_of

    areas = {(band.order, band.game): (band.areas.mean(), spread_of(band.areas)) for band in bands}
    orders = dict.fromkeys(band.order for band in bands)
    lines = [f"{'order':<22} deletion (low is good)  insertion (high is good)"]
    for order in orders:
        cells = [f"{areas[order, game][0]:.3f} ± {areas[order, game][1]:.3f}" for game in ("deletion", "insertion")]
        lines.append(f"{order:<22} {cells[0]:>22}  {cells[1]:>24}")
    return "\n".join(lines)
