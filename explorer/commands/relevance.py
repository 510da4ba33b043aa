"""`python -m explorer relevance`: which patches speak for a class, as overlays."""

import argparse
from pathlib import Path

from explorer.commands import _view


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser("relevance", help="which patches speak for a class (Chefer et al. 2021)")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE")
    parser.add_argument("--class", dest="target", type=_view.target, help="number or name (default: the predicted one)")
    parser.add_argument("--similar-to", metavar="IMAGE", help="instead of a class: the likeness to this image, or to a "
                        "patch given as ROW,COL")  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("."), help="folder for NAME_relevance.png")
    parser.add_argument("--npz", action="store_true", help="also write the map and every setting")
    _view.add_model_options(parser)
    _view.add_look_options(parser)
    parser.set_defaults(run=run, kind="relevance")


def run(args: argparse.Namespace) -> int:
    """One overlay an image; prints the class and its probability, or the likeness."""
    model = _view.open_model(args)
    similar = None if args.similar_to is None else _view.query(args.similar_to)
    if isinstance(similar, str):
        similar = _view.recorded(args, model, similar)
    args.out.mkdir(parents=True, exist_ok=True)
    for image in args.images:
        _explain(args, model, image, similar)
    return 0


def _explain(args, model, image: Path, similar) -> None:
    import numpy as np

    from explorer.rendering.view import limits, paint

    recording = _view.recorded(args, model, image)
    heatmap = recording.relevance(args.target, similar)
    view = _view.view_of(args, image)
    out = args.out / f"{image.stem}_relevance.png"
    paint(view, recording.image, heatmap, *limits(view, recording, heatmap)).save(out)
    if args.npz:
        settings, similar_to = np.array(view.to_json()), np.array(args.similar_to or "")
        pixels = np.array(recording.image)
        np.savez_compressed(
            out.with_suffix(".npz"), map=heatmap, image=pixels, settings=settings, similar_to=similar_to
        )
    print(f"{out}: {_score(recording, args.target, similar)}")


def _score(recording, target, similar) -> str:
    """The class and its probability, or what the image is likened to."""
    import numpy as np

    from explorer.attention.relevance import class_index

    if similar is not None:
        return "likeness to the other image" if not isinstance(similar, tuple) else f"likeness to patch {similar}"
    logits = recording.logits.astype(np.float64)
    chances = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    names = recording.model.class_names
    index = int(logits.argmax()) if target is None else class_index(target, names, len(logits))
    return f"{names[index] if names else f'class {index}'} ({chances[index]:.1%})"
