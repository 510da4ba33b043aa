"""`python -m explorer relevance`: which patches speak for a class, as overlays."""

import argparse
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from explorer.attention.maps.table import map_kind
from explorer.commands import _outputs, _view
from explorer.commands._work import Work, add_work_option
from explorer.words import percent

if TYPE_CHECKING:
    from explorer.attention.recording import Recording
    from explorer.rendering.view import View


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser("relevance", help="which patches speak for a class (Chefer et al. 2021)")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="images, or folders of them")
    parser.add_argument("--out", type=Path, default=Path("."), help="folder for NAME_relevance.png")
    add_work_option(parser)
    parser.add_argument("--npz", action="store_true", help="also write the map and every setting")
    _view.add_settings(parser, *map_kind("relevance").settings)
    _view.add_model_options(parser)
    _view.add_look_options(parser)
    parser.set_defaults(run=run, kind="relevance")


def run(args: argparse.Namespace) -> int:
    """One overlay per image; prints the class and its probability, or the likeness. Images that can't be read go to
    stderr, and the exit code is 2.
    """
    from explorer.data.images import open_image
    from explorer.data.sources import find_images
    from explorer.launch import processes
    from explorer.rendering.view import second_recording

    args.out.mkdir(parents=True, exist_ok=True)
    if likened := _view.likeness_file(args):
        open_image(likened)
    all_, images = processes(), find_images(args.images)
    model = _view.model_once(args, all_.device)
    second = cache(lambda: second_recording(_view.view_of(args, ""), model()))
    endings = ("_relevance.png", "_relevance.npz")
    stems = _outputs.unique_stems(images, args.out, endings, [likened or ""])

    def work(pair: tuple[str, str]) -> str:
        image, stem = pair
        photo, view, out = open_image(image), _view.view_of(args, image), args.out / f"{stem}_relevance.png"
        return _explain(view, _view.record_image(args, model(), photo), second(), out, args.npz)

    task = Work(args, images, args.out, model, all_)
    for line in task.each(list(zip(images, stems, strict=True)), work, lambda pair: Path(pair[0]).name):
        print(line)
    return task.finish()


def _explain(view: "View", recording: "Recording", second: "Recording | None", out: Path, npz: bool) -> str:
    """Write the picture, and the NPZ where asked for; a line that names them, the class, and what is wrong."""
    from explorer.rendering.view import noted_map, png, save_npz

    heatmap, note = noted_map(view, recording, second)
    _outputs.write_output(out, png(view, recording, photo=view.photo.image, heatmap=heatmap))
    files = [out]
    if npz:
        files.append(out.with_suffix(".npz"))
        _outputs.write_output(files[-1], save_npz(view, recording, made=(heatmap, note)))
    return f"{' and '.join(map(str, files))}: {_score(view, recording)}{note and f'. {note}'}"


def _score(view: "View", recording: "Recording") -> str:
    """The class and its probability, the logits of two classes, or what the image is likened to."""
    from explorer.attention.scores import describe_score

    if (other := view.map["similar_to"]) is not None:
        return f"likeness to {f'patch {other}' if isinstance(other, tuple) else other}"
    assert recording.probabilities is not None and recording.logits is not None  # else relevance would have refused
    if isinstance(target := view.map["target"], tuple):
        one, another = (float(recording.logits[recording.class_index(part)]) for part in target)
        return f"{describe_score(recording, target, None)} (logits {one:.3f} and {another:.3f})"
    index = recording.class_index(target)
    value = recording.probabilities[index]
    shown = f"{value:.4f}" if recording.model.outputs == "number" else percent(value)
    return f"{recording.model.class_name(index)} ({shown})"
