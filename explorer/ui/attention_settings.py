"""What the Attention page shows, as its sliders, its canvas and its address say; the address mirrors every change."""

import re
from dataclasses import replace
from pathlib import PurePath
from typing import Any

import streamlit as st

from explorer.attention.recording import Query, Recording
from explorer.errors import QueryError
from explorer.models.backbone import Model
from explorer.rendering.colormaps import COLORMAPS
from explorer.rendering.payload import LOOK
from explorer.rendering.view import SAMPLE, View

CANVAS = "canvas"  # key of the live canvas
SETTINGS = "canvas_settings"  # what a person last chose in it; outlives a change of page
FUSIONS = ("mean", "max", "min")
DEFAULTS: dict[str, Any] = {
    "query": None, "colormap": "inferno", "opacity": 0.6, "resample": "bicubic", "scale": "map", "mass": None,
    "hide_artefacts": False, "grid": False,
}  # fmt: skip


def parse_query(text: str) -> Query:
    """ "cls" -> "cls", "3,4" -> (3, 4)."""
    row, comma, col = text.partition(",")
    if not comma:
        return text
    try:
        return int(row), int(col)
    except ValueError:
        raise QueryError(f"A query is a token's name or a patch as row,col; {text!r} is neither.") from None


def query_text(query: Query) -> str:
    """How a query is written in the address: cls, or 3,4 for a patch."""
    return query if isinstance(query, str) else f"{query[0]},{query[1]}"


def query_name(query: Query) -> str:
    """A query in words: cls, mean of patches, patch (3, 4)."""
    if isinstance(query, str):
        return "the mean of all patches" if query == "mean" else query
    return f"patch ({query[0]}, {query[1]})"


def head_name(head: int | str) -> str:
    """A head in words: head 3, mean of heads."""
    return f"head {head}" if isinstance(head, int) else f"{head} of heads"


def lead(rec: Recording) -> str:
    """What heads and the query are, for someone who never met them."""
    asks = "the mean of all patches" if rec.default_query == "mean" else f"{rec.default_query} (class token)"
    return (
        "A layer has several **heads**; each is a separate way of looking. "
        f"The **query** is the token that asks: {asks}, or the patch you click."
    )


def download_name(rec: Recording, view: View) -> str:
    """A name for files of this view, without ending: cat-Bundled-ViT-layer9-mean-cls, letters of any file system."""
    query = view.query or rec.default_query
    asked = query if isinstance(query, str) else f"patch{query[0]}-{query[1]}"
    head = f"head{view.head}" if isinstance(view.head, int) else view.head
    what = {"raw": f"layer{view.layer}-{head}-{asked}", "rollout": f"rollout-{asked}"}.get(view.kind, view.kind)
    image = str(view.image)
    photo = image.removeprefix(SAMPLE) if image.startswith(SAMPLE) else PurePath(image).stem
    return "-".join([_safe(photo) or "photo", _safe(rec.model_name) or "model", what])


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.")


def settings() -> dict[str, Any]:
    """The canvas' settings of this session; on the first run those of the address."""
    if SETTINGS not in st.session_state:
        st.session_state[SETTINGS] = {"seq": 0, **DEFAULTS, **_from_address()}
    return st.session_state[SETTINGS]


def _from_address() -> dict[str, Any]:
    """The settings that the address holds and that make sense; the query is checked against a recording later."""
    found: dict[str, Any] = {}
    params = st.query_params
    for name, choices in (("colormap", COLORMAPS), ("resample", ("bicubic", "nearest")), ("scale", ("shared", "raw"))):
        if params.get(name) in choices:
            found[name] = params[name]
    for name, lowest in (("opacity", 0.0), ("mass", 0.05)):
        number = _number(params.get(name))
        if number is not None and lowest <= number <= 1:
            found[name] = number
    for name in ("grid", "hide_artefacts"):
        if params.get(name) in ("1", "true"):
            found[name] = True
    if "query" in params:
        found["query"] = params["query"]
    return found


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def take_change() -> None:
    """Callback of the canvas: keep what a person changed there, and let the head slider follow."""
    change = st.session_state[CANVAS].get("view")
    if not change:
        return
    query = change["query"]
    text = query if isinstance(query, str) else f"{query[0]},{query[1]}"
    st.session_state[SETTINGS] = {**settings(), **change["look"], "query": text, "seq": change["seq"]}
    st.session_state["head"] = str(change["head"])


def change_settings(**changes: Any) -> None:
    """Change what the canvas shows from outside it."""
    st.session_state[SETTINGS] = {**settings(), **changes}


def mirror_in_address() -> None:
    """Write the canvas' settings into the address, but none that stands at its default."""
    texts = {
        name: "1" if value is True else str(value)
        for name, default in DEFAULTS.items()
        if (value := settings()[name]) != default
    }
    for name in DEFAULTS:
        if name not in texts and name in st.query_params:
            del st.query_params[name]
    changed = {name: text for name, text in texts.items() if st.query_params.get(name) != text}
    if changed:
        st.query_params.update(changed)  # at once: each change of the address is a message to the browser


def checked_query(rec: Recording) -> tuple[Query, str | None]:
    """The query to show, and one sentence where the wanted one isn't in the recording and the default is shown."""
    text = settings()["query"]
    if text is None:
        return rec.default_query, None
    try:
        query = parse_query(text)
        rec.rows(0, query)
    except QueryError as error:
        settings()["query"] = None
        return rec.default_query, f"{error} Shown instead: {query_name(rec.default_query)}."
    return query, None


def unknown_in_address(rec: Recording) -> str | None:
    """One sentence where the address asks for a layer or head that the model lacks, before the sliders mend it."""
    layer, head = st.query_params.get("layer"), st.query_params.get("head")
    if layer is not None and not (layer.isdigit() and int(layer) < rec.depth):
        return f"This model has layers 0 to {rec.depth - 1}; {layer!r} is none of them."
    if head is not None and head not in head_options(rec):
        return f"This model has heads 0 to {rec.num_heads - 1}, or their mean, max and min; {head!r} is none of them."
    return None


def head_options(rec: Recording) -> list[str]:
    """mean, max, min, 0, 1, …"""
    return [*FUSIONS, *map(str, range(rec.num_heads))]


def default_layer(rec: Recording | Model) -> int:
    """Three quarters up: there, and not in the last layer, maps hold the object best in most supervised models."""
    return min(rec.depth - 1, round(0.75 * rec.depth))


def current_view(base: View, rec: Recording, layer: int, head: str, query: Query) -> View:
    """The base view (model, image, size, fit) with everything this page sets."""
    look = {name: settings()[name] for name in LOOK}
    look["hide_artefacts"] &= rec.norms is not None  # where they aren't known there's nothing to tell outliers by
    return replace(base, layer=layer, head=head if head in FUSIONS else int(head), query=query, **look)
