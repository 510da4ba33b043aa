"""`python -m explorer video`: attention over a short clip, as MP4 or GIF."""

import argparse
from pathlib import Path

from explorer.commands import _outputs, _view
from explorer.commands._progress import Display


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser("video", help="attention over a short clip, in one colour scale")
    parser.add_argument("clip", type=Path, help="MP4, WebM or GIF")
    parser.add_argument("--out", type=Path, required=True, help="a file ending in .mp4 or .gif")
    parser.add_argument("--fps", type=float, default=8.0, help="frames per second that are looked at (default: 8)")
    parser.add_argument("--beside", action="store_true", help="the clip itself to the left")
    _view.add_model_options(parser)
    _view.add_view_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Record frame after frame, progress on stderr; Ctrl-C stops and leaves no file."""
    from explorer.data.video import read_clip

    out = _outputs.check_output(args.out, (".mp4", ".gif"), (args.clip, _view.likeness_file(args)))
    clip = read_clip(args.clip, args.fps)
    view = _view.view_of(args, args.clip)
    from explorer.rendering.video import LARGEST, LARGEST_GIF, gif, mp4, painted_frames, record_clip

    maps = record_clip(_view.open_model(args), clip, view, Display(f"{len(clip.frames)} frames", at_once=True))
    is_gif = out.suffix.lower() == ".gif"
    frames = painted_frames(maps, view, args.beside, LARGEST_GIF if is_gif else LARGEST)
    _outputs.write_output(out, (gif if is_gif else mp4)(frames, maps.fps))
    print(out)
    return 0
