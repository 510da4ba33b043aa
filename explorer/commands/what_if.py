"""`python -m explorer what-if`: the answer with patches dropped, heads off, edges cut, beside the model's own."""

import argparse
import json
import sys
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explorer.attention.interventions.edits import FORMS, edit_text, in_words
from explorer.attention.maps.table import EXPLAINED
from explorer.commands import _outputs, _view

if TYPE_CHECKING:
    from explorer.attention.interventions.effect import Effect
    from explorer.attention.interventions.heads import HeadEffects

EXAMPLE = "example: python -m explorer what-if cat.jpg --drop 3,4 --drop 3,5 --head 11.2=off --class lynx"
STRONGEST = 10  # heads that are printed
STDOUT = Path("-")


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """what-if PHOTO --drop 3,4 --head 11.2=off … [--all-heads] [--class NAME] [--json FILE]"""
    parser = subparsers.add_parser(
        "what-if", help="drop patches, switch heads off, cut edges: what the answer is then", epilog=EXAMPLE
    )
    parser.add_argument("photo", type=Path, metavar="PHOTO")
    for form in FORMS.values():
        parser.add_argument(
            f"--{form.name}", dest="edits", action="append", type=_view.for_argparse(form.read), metavar=form.example,
            help=f"{form.help} (may be repeated)",
        )  # fmt: skip
    parser.add_argument("--mean-over", nargs="+", type=Path, default=[], metavar="PHOTO", help="photos for =mean")
    parser.add_argument("--second", type=Path, metavar="PHOTO", help="where --put takes its tokens from")
    parser.add_argument("--all-heads", action="store_true", help="switch every head off once, and rank them")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything to this file (-: print it alone)")
    _view.add_settings(parser, *EXPLAINED)
    _view.add_model_options(parser)
    parser.set_defaults(run=run, edits=None)


def run(args: argparse.Namespace) -> int:
    """Print the edits, the change of the score and of the likeliest classes; with --all-heads the strongest heads."""
    from explorer.data.images import open_image

    if args.json and args.json != STDOUT:
        _outputs.check_output(args.json, (".json", ".txt"), [args.photo, args.second, *args.mean_over])
    photo = open_image(args.photo)
    for other in filter(None, (_view.likeness_file(args), args.second)):
        open_image(other)
    model = _view.open_model(args)
    recording = _view.record_image(args, model, photo)
    likened = _view.record_image(args, model, args.similar_to) if _view.likeness_file(args) else args.similar_to
    found: dict[str, Any] = {"photo": str(args.photo), "model": model.name}
    texts = []
    if args.edits or not args.all_heads:
        photos = [model.fit(photo, args.size, args.fit) for photo in args.mean_over]
        second = model.fit(args.second, args.size, args.fit) if args.second else None
        effect = recording.what_if(args.edits or (), args.target, likened, photos, second)
        found |= effect.as_dict()
        texts.append(table(effect))
    if args.all_heads:
        heads = recording.measure_heads(args.target, likened, progress=_progress)
        found["heads"] = heads_as_dict(heads)
        texts.append(strongest(heads))
    _write(args.json, found, "\n\n".join(texts))
    return 0


def _write(path: Path | None, found: dict[str, Any], text: str) -> None:
    if path == STDOUT:
        print(json.dumps(found, indent=2))
        return
    print(text)
    if path:
        _outputs.write_output(path, json.dumps(found, indent=2) + "\n")
        print(f"wrote {path}")


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\rlayer {done} of {total}", end="\n" if done == total else "", file=sys.stderr, flush=True)


def table(effect: "Effect") -> str:
    """The edits, the score before and after with the change by the ledger alone, and the likeliest classes."""
    lines = [f"{edit_text(edit):<24} {in_words(edit)}" for edit in effect.edits] or ["no edits"]
    before, after = effect.score
    by_ledger = "" if effect.ledger_change is None else f"; by the ledger {effect.ledger_change:+.4f}"
    lines.append(f"score {before:.4f} -> {after:.4f}, change {effect.change:+.4f}{by_ledger}")
    number = effect.model.outputs == "number"
    if effect.top:
        width = max(5, *(len(one.name) for one in effect.top))
        heads = "value before   after  change" if number else "logit before   after  change  probability before   after"
        lines.append(f"{'' if number else 'class':<{width}}  {heads}")
    for one in effect.top:
        before, after = one.logits
        logits = f"{before:12.3f} {after:7.3f} {after - before:+7.3f}"
        shares = "" if number else f"  {one.probabilities[0]:18.4f} {one.probabilities[1]:7.4f}"
        lines.append(f"{one.name:<{width}}  {logits}{shares}")
    return "\n".join(lines)


def strongest(heads: "HeadEffects") -> str:
    """The heads that change the score most, and the rank correlations."""
    import numpy as np

    order = np.argsort(-np.abs(heads.effects).ravel(), kind="stable")[:STRONGEST]
    lines = ["layer head  effect   ledger  divergence (bits)"]
    for place in order:
        at = np.unravel_index(place, heads.effects.shape)
        share = "       -" if heads.shares is None else f"{heads.shares[at]:+8.3f}"
        lines.append(f"{at[0]:5} {at[1]:4} {heads.effects[at]:+7.3f} {share}  {heads.divergence[at]:17.3f}")
    if heads.shares is not None:
        lines.append(f"rank correlation of effect and ledger: {heads.correlation(heads.shares):.2f}")
    lines.append(f"rank correlation of the effect's size and divergence: {heads.correlation(heads.divergence):.2f}")
    return "\n".join(lines)


def heads_as_dict(heads: "HeadEffects") -> dict[str, Any]:
    """ "layer head" lists of everything; numbers that aren't one (NaN) become null."""
    shares = heads.shares
    ranks = {"divergence": heads.correlation(heads.divergence)}
    if shares is not None:
        ranks["ledger"] = heads.correlation(shares)
    return {
        "score": heads.score,
        "effects": heads.effects.tolist(),
        "ledger": None if shares is None else shares.tolist(),
        "divergence": heads.divergence.tolist(),
        "rank_correlation": {name: value if isfinite(value) else None for name, value in ranks.items()},
    }
