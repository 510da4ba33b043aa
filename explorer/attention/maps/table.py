"""The table of all kinds of map: a new kind is one module beside this one and one row here; all else reads the table.

No row imports torch before its map is asked for, so that the command line's --help stays quick.
"""

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any

from explorer.attention.maps.kind import MapKind, Sweep
from explorer.attention.maps.settings import (
    Choice,
    Count,
    FirstLayer,
    HeadOrFusion,
    Layer,
    Likeness,
    Number,
    QueryToken,
    Switch,
    TargetClass,
)
from explorer.attention.queries import FUSIONS
from explorer.errors import QueryError

DEFAULT = "attention"
EXPLAINS_BEST = "gradient"  # for DeiT-Tiny on ImageNet photos (docs/bench.md)
OLDER_NAMES = {"raw": "attention"}  # in older files, links and commands

LAYER = Layer("layer", "Layer", -1, "negatives count from the end (default: the last)")
HEAD = HeadOrFusion("head", "Head", "mean", "a number, mean, max or min (default: mean)")
QUERY = QueryToken("query", "Query", None, "cls, another prefix token, mean, or a patch as ROW,COL (default: cls, or "
                   "mean where there is none)")  # fmt: skip
START_LAYER = FirstLayer("start_layer", "Start at layer", 0, "first layer of a rollout, relevance or LeGrad")
EXPLAINED = (
    TargetClass(
        "target", "Class", None, "class to explain, by number or name (default: the predicted one)", alias="class"
    ),
    Likeness(
        "similar_to", "Like", None, "explain the likeness to this image, or to a patch given as ROW,COL, instead of a "
        "class",
    ),
)  # fmt: skip


def _from(module: str, function: str) -> Callable[..., Any]:
    """A function of a module beside this one, which is imported when it is first called."""

    def call(recording: Any, **settings: Any) -> Any:
        return getattr(import_module(f"explorer.attention.maps.{module}"), function)(recording, **settings)

    return call


def _explain(words: str) -> Callable[..., str]:
    """How a figure's title calls a map of a score: the words, then the class or the likeness."""

    def describe(recording: Any, target: Any, similar_to: Any, **others: Any) -> str:
        scores = import_module("explorer.attention.scores")
        layer = f", layer {others['layer'] % recording.depth}" if "layer" in others else ""
        return f"{words} {scores.describe_score(recording, target, similar_to)}{layer}"

    return describe


ATTENTION = MapKind(
    name="attention",
    title="Attention",
    help="Softmax weights of one layer and head, from one query.",
    settings=(LAYER, HEAD, QUERY),
    compute=_from("attention", "compute"),
    heads=_from("attention", "heads"),
    describe=_from("attention", "describe"),
    sweep=Sweep("layer", caption="layer", help="This head, layer after layer."),
    live=True,
)

ROLLOUT = MapKind(
    name="rollout",
    title="Rollout",
    help="Attention followed through all layers down to the patches (Abnar & Zuidema 2020).",
    settings=(
        QUERY,
        Choice("fusion", "Heads fused by", "mean", "of heads in a rollout", choices=FUSIONS),
        Number(
            "discard_ratio", "Discard the lowest share", 0.0, "lowest share that a rollout leaves out",
            low=0.0, high=1.0, step=0.05, below_high=True,
        ),
        START_LAYER,
    ),
    compute=_from("rollout", "compute"),
    describe=_from("rollout", "describe"),
    sweep=Sweep("start_layer", caption="rollout from layer", help="As it starts at each layer."),
)  # fmt: skip

RELEVANCE = MapKind(
    name="relevance",
    title="Relevance",
    help="Attention weighted by what it does to a class, through all layers (Chefer et al. 2021).",
    settings=(
        *EXPLAINED,
        Switch(
            "balanced", "Balanced gradients", True, "relevance with gradients that norms, softmax and activations "
            "don't distort (LibraGrad 2025; default: yes), or with the model's own as in Chefer's paper",
        ),
        replace(START_LAYER, in_app=False),
    ),
    compute=_from("relevance", "relevance"),
    describe=_explain("relevance for"),
    layers=True,
)  # fmt: skip

GRADIENT = MapKind(
    name="gradient",
    title="Gradient",
    help="What each patch adds to a class's score or takes from it: token times balanced gradient, summed over the "
    "layers (LibraGrad 2025).",
    settings=EXPLAINED,
    compute=_from("gradient", "attribution"),
    describe=_explain("token times gradient for"),
    signed=True,
    layers=True,
    stream=True,
)

LEGRAD = MapKind(
    name="legrad",
    title="LeGrad",
    help="Which patches would raise a class's score if every layer attended to them more (Bousselham et al. 2025).",
    settings=(*EXPLAINED, replace(START_LAYER, in_app=False)),
    compute=_from("legrad", "compute"),
    describe=_explain("LeGrad for"),
    layers=True,
    stream=True,
)

GRADCAM = MapKind(
    name="gradcam",
    title="Grad-CAM",
    help="The channels of one layer's tokens, weighted by what they do to a class (Selvaraju et al. 2017).",
    settings=(*EXPLAINED, LAYER),
    compute=_from("gradcam", "compute"),
    describe=_explain("Grad-CAM for"),
    sweep=Sweep("layer", caption="Grad-CAM of layer", help="Of this class, layer after layer."),
    layers=True,
)

INTEGRATED_GRADIENTS = MapKind(
    name="integrated_gradients",
    title="Integrated gradients",
    help="What each patch's pixels do to a class on the way from an empty picture to this one (Sundararajan et al. "
    "2017). Slow: as many passes with gradients as steps.",
    settings=(
        *EXPLAINED,
        Count("steps", "Steps", 32, "points on the way of integrated gradients (default: 32)", low=2, high=512),
        Choice(
            "baseline", "Empty picture", "grey", "empty picture where integrated gradients begin",
            choices=("grey", "black", "mean"),
        ),
    ),
    compute=_from("integrated_gradients", "integral"),
    describe=_explain("integrated gradients for"),
    signed=True,
    passes=lambda recording, steps, **others: 3 * steps,
    long=True,
)  # fmt: skip

OCCLUSION = MapKind(
    name="occlusion",
    title="Occlusion",
    help="What a class's score loses without each patch. Slow: one pass for every patch.",
    settings=EXPLAINED,
    compute=_from("occlusion", "compute"),
    describe=_explain("occlusion for"),
    signed=True,
    passes=lambda recording, **others: recording.grid[0] * recording.grid[1],
    long=True,
)

MAP_KINDS: dict[str, MapKind] = {
    kind.name: kind
    for kind in (ATTENTION, ROLLOUT, RELEVANCE, GRADIENT, LEGRAD, GRADCAM, INTEGRATED_GRADIENTS, OCCLUSION)
}


def current_name(name: str) -> str:
    """The name of a kind of map today, for one that older files, links and commands may use."""
    return OLDER_NAMES.get(name, name)


def map_kind(name: str) -> MapKind:
    """The row of a kind of map, by its current or an older name; QueryError lists the known ones."""
    kind = MAP_KINDS.get(current_name(name))
    if kind is None:
        raise QueryError(f"A map's kind must be one of {', '.join(MAP_KINDS)}, not {name!r}.")
    return kind
