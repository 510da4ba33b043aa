"""What the Attention page shows, as its sliders, its canvas and its address say; the address mirrors every change."""

import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Protocol

import streamlit as st

from explorer.attention import queries
from explorer.attention.maps.settings import QueryToken
from explorer.attention.queries import FUSIONS, Query, head_name, parse_head, parse_query, query_name, query_text
from explorer.data.samples import SAMPLE
from explorer.errors import QueryError
from explorer.rendering.colormaps import COLORMAPS
from explorer.rendering.view import View
from explorer.ui.address import by_key, keep_in_address, number, take, write, write_unless
from explorer.ui.messages import check_link, link_is_new, plain, sentence_of, shorten
from explorer.web.payload import LOOK

if TYPE_CHECKING:
    from explorer.attention.recording import Recording
    from explorer.models.backbone import Model

CANVAS = "canvas"  # key of the live canvas
SETTINGS = "canvas_settings"  # what a person last chose in it; outlives a change of page
DEFAULTS: dict[str, Any] = {
    "query": None, "colormap": "inferno", "opacity": 0.6, "resample": "bicubic", "scale": "map", "mass": None,
    "hide_artefacts": False, "grid": False, "shows": "attention", "mosaic": False,
}  # fmt: skip
CHOICES = {
    "colormap": tuple(COLORMAPS), "resample": ("bicubic", "nearest"), "scale": ("map", "shared", "raw"),
    "shows": ("attention", "rollout"),
}  # fmt: skip
LOWEST = {"opacity": 0.0, "mass": 0.05}  # of settings up to 1
SWITCHES, ON = ("grid", "hide_artefacts", "mosaic"), ("1", "true")


class Asked(Protocol):
    """What a query is asked of: a recording, or the picture that ships with the app."""

    @property
    def grid(self) -> tuple[int, int]: ...

    @property
    def prefix_tokens(self) -> tuple[str, ...]: ...

    @property
    def default_query(self) -> str: ...

    def query_indices(self, query: Query | None) -> list[int]:
        """Raises QueryError for a query that it doesn't hold."""
        ...


def asked_from(rec: "Recording", view: View) -> str:
    """Which query the view's map is asked from, in words: cls, patch (3, 4)."""
    return query_name(view.map["query"] or rec.default_query)


def layer_words(view: View) -> str:
    """ "layer 9, mean of heads"."""
    return f"layer {view.map['layer']}, {head_name(view.map['head'])}"


def heads_and_query(rec: "Recording") -> str:
    """What heads and the query are, for someone who never met them; text for explorer.ui.glossary."""
    asks = "the mean of all patches" if rec.default_query == "mean" else "[[cls]] (class token)"
    count = f"each [[layer]] of this model has {rec.num_heads if rec.num_heads > 1 else 'one'}"
    return (
        "Every [[token]] shares out 100 % of its [[attention]] over all tokens. A [[head]] is one such way of sharing, "
        f"and {count}. The [[query]] is the token that asks: {asks}, or the patch you click."
    )


def download_name(rec: "Recording", view: View) -> str:
    """A name for files of this view, without ending: cat-Bundled-ViT-layer9-mean-cls, letters of any file system."""
    row, asks, settings = view.map.row, view.map.row.needs(QueryToken), dict(view.map.settings)
    if asks:
        settings[asks.name] = settings[asks.name] or rec.default_query
    what = [setting.in_file_name(settings[setting.name]) for setting in row.settings]
    image = view.photo.image
    photo = image.removeprefix(SAMPLE) if image.startswith(SAMPLE) else PurePath(image).stem
    names = [_safe(photo) or "photo", _safe(rec.model_name) or "model", "" if row.live else row.name, *what]
    return "-".join(filter(None, names))


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.")


def check_layer_and_head(rec: "Recording | Model", heads: Sequence[str]) -> None:
    """Name a layer and head of a link that there aren't; call it before their sliders mend the address."""
    layer = number(int, 0, rec.depth - 1)
    check_link("layer", lambda text: layer(text) is not None, f"from 0 to {rec.depth - 1}")
    check_link("head", heads.__contains__, f"one of {', '.join(heads)}")


def check_query(rec: Asked) -> None:
    """Name a query of a link that the recording lacks."""
    tokens = ", ".join([*rec.prefix_tokens, "mean"])
    grid = f"{rec.grid[0]} rows and {rec.grid[1]} columns"
    check_link("query", lambda text: _can_ask(rec, text), f"{tokens}, or a patch as row,col of the {grid}")


def _can_ask(rec: Asked, text: str) -> bool:
    try:
        rec.query_indices(parse_query(text))
    except QueryError:
        return False
    return True


def check_look() -> None:
    """Name each setting of the canvas in a link that can't be used."""
    for name, choices in CHOICES.items():
        check_link(name, (*choices, str(DEFAULTS[name])).__contains__, f"one of {', '.join(choices)}")
    for name, lowest in LOWEST.items():
        check_link(name, lambda text, low=lowest: _within(text, low) is not None, f"from {lowest:g} to 1")
    for name in SWITCHES:
        check_link(name, (*ON, "0", "false").__contains__, "1 or 0")


def settings() -> dict[str, Any]:
    """The canvas' settings of this session; on the first run those of the address."""
    keep_in_address(SETTINGS)
    if SETTINGS not in st.session_state:
        st.session_state[SETTINGS] = {"seq": 0, **DEFAULTS, **_from_address()}
    return st.session_state[SETTINGS]


def _from_address() -> dict[str, Any]:
    """The settings that the address holds and that make sense; the query is checked against a recording later."""
    found: dict[str, Any] = {}
    params = st.query_params
    for name, choices in CHOICES.items():
        if params.get(name) in choices:
            found[name] = params[name]
    for name, lowest in LOWEST.items():
        if (number := _within(params.get(name, ""), lowest)) is not None:
            found[name] = number
    for name in SWITCHES:
        if params.get(name) in ON:
            found[name] = True
    if "query" in params:
        found["query"] = params["query"]
    return found


def _within(text: str, lowest: float) -> float | None:
    try:
        return number if lowest <= (number := float(text)) <= 1 else None
    except ValueError:
        return None


def take_change() -> None:
    """Callback of the canvas: keep what a person changed there."""
    change = st.session_state[CANVAS].get("view")
    if not change:
        return
    other = {"query": query_text(change["query"]), "shows": change["shows"], "seq": change["seq"]}
    st.session_state[SETTINGS] = {**settings(), **change["look"], **other}
    st.session_state["layer"] = int(change["layer"])
    st.session_state["head"] = str(change["head"])


def take_choice(canvas: str) -> None:
    """Callback of a canvas with few tools: keep query, layer and head that a person chose there, for all pages."""
    if change := st.session_state[canvas].get("view"):
        mosaic = change["look"].get("mosaic", False)
        change_settings(query=query_text(change["query"]), mosaic=mosaic, seq=change["seq"])
        if "layer" in st.session_state:  # not where the picture that ships with the app is shown, which has only one
            st.session_state["layer"] = int(change["layer"])
            st.session_state["head"] = str(change["head"])


def mirror_query() -> None:
    """Write the query into the address of a page that shows few of these settings."""
    write("query", settings()["query"])


def mirror_layer_and_head(rec: "Recording") -> None:
    """Write layer, head and mosaic into the address of such a page, but none that stands at its default."""
    write_unless("layer", default_layer(rec))
    write_unless("head", "mean")
    write("mosaic", "1" if settings()["mosaic"] else None)


def change_settings(**changes: Any) -> None:
    """Change what the canvas shows from outside it."""
    st.session_state[SETTINGS] = {**settings(), **changes}


def mirror_in_address(rec: "Recording") -> None:
    """Write layer, head and the canvas' settings into the address, but none that stands at its default."""
    defaults = {**DEFAULTS, "layer": default_layer(rec), "head": "mean"}
    values = {**settings(), **{name: st.session_state[name] for name in ("layer", "head")}}
    texts = {
        name: "1" if values[name] is True else str(values[name])
        for name, default in defaults.items()
        if values[name] != default
    }
    for name in defaults:
        if name not in texts and name in st.query_params:
            del st.query_params[name]
    changed = {name: text for name, text in texts.items() if st.query_params.get(name) != text}
    if changed:
        st.query_params.update(changed)  # at once: each change of the address is a message to the browser


def checked_query(rec: Asked) -> tuple[Query, str | None]:
    """The query to show, and one sentence where the wanted one isn't in the recording and the default is shown.

    No sentence where a link asks for it: the message above the page names it.
    """
    text = settings()["query"]
    if text is None:
        return rec.default_query, None
    try:
        query = parse_query(text)
        rec.query_indices(query)
    except QueryError as error:
        settings()["query"] = None
        said = None if link_is_new() else f"{sentence_of(error)} Shown instead: {query_name(rec.default_query)}."
        return rec.default_query, said
    return query, None


def unknown_in_address(rec: "Recording") -> str | None:
    """One sentence where another model than before lacks the layer or head in the address; before the sliders mend it.

    None where it comes from a link: the message above the page names it.
    """
    if link_is_new():
        return None
    layer, head = st.query_params.get("layer"), st.query_params.get("head")
    if layer is not None and number(int, 0, rec.depth - 1)(layer) is None:
        return f"This model has layers 0 to {rec.depth - 1}; {plain(repr(shorten(layer)))} is none of them."
    if head is not None and head not in head_options(rec):
        named = plain(repr(shorten(head)))
        return f"This model has heads 0 to {rec.num_heads - 1}, or their mean, max and min; {named} is none of them."
    return None


def head_options(rec: "Recording | Model") -> list[str]:
    """mean, max, min, 0, 1, …"""
    return [*FUSIONS, *map(str, range(rec.num_heads))]


def take_layer(rec: "Recording | Model", default: int | None = None) -> int:
    """The layer of this session, else that of the address, else the default; a widget of the key "layer" shows it."""
    take("layer", number(int, 0, rec.depth - 1), default_layer(rec) if default is None else default)
    return st.session_state["layer"]


def take_head(options: Sequence[str]) -> str:
    """The same for the head, of those options."""
    take("head", by_key({option: option for option in options}), "mean")
    return st.session_state["head"]


def default_layer(rec: "Recording | Model") -> int:
    """Of explorer.attention.queries, for that model."""
    return queries.default_layer(rec.depth)


def current_view(base: View, rec: "Recording", layer: int, head: str, query: Query) -> View:
    """The base view (model, image, size, fit) with everything this page sets."""
    look = {name: settings()[name] for name in LOOK}
    look["hide_artefacts"] &= rec.norms is not None  # where they aren't known there's nothing to tell outliers by
    return base.with_map(layer=layer, head=parse_head(head), query=query).with_look(**look)


def shown_view(view: View) -> View:
    """The view of what the canvas shows: the attention of the view, or the rollout that begins at its layer."""
    kind = settings()["shows"]
    if kind == view.map.kind:
        return view
    layer, head, query = (view.map[name] for name in ("layer", "head", "query"))
    return view.with_map(kind, start_layer=layer, fusion=head if isinstance(head, str) else "mean", query=query)
