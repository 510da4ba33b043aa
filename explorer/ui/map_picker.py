"""Which map is shown, of all kinds in the table, and its settings: each type of setting has its widget.

Several tabs draw these widgets, one at a time; all share their values, and the address holds them.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import streamlit as st

from explorer.attention.features import cosine, similarity
from explorer.attention.maps.kind import MapKind
from explorer.attention.maps.settings import (
    INSTEAD_OF,
    Choice,
    Count,
    FirstLayer,
    HeadOrFusion,
    Layer,
    Likeness,
    Number,
    Setting,
    Switch,
    TargetClass,
)
from explorer.attention.maps.table import DEFAULT, EXPLAINS_BEST, MAP_KINDS, current_name, map_kind
from explorer.attention.queries import parse_head, query_name
from explorer.attention.recording import Recording
from explorer.errors import QueryError
from explorer.models.backbone import Model
from explorer.rendering.view import View
from explorer.ui import cached
from explorer.ui.address import Read, by_key, number, take, write, write_unless
from explorer.ui.messages import check_link, plain
from explorer.ui.photos import pick_second_photo
from explorer.ui.view_settings import default_layer, head_options, take_head, take_layer
from explorer.ui.widgets import layer_slider

LIKE = {"patch": "Clicked patch", "photo": "Another photo"}
PREDICTED, NO_OTHER = "predicted", "-"  # in links
WHY = "why"  # key of the picker of the kinds that explain
LINKED_MAPS = "linked_maps"  # key of a picker -> the kinds of map that the session's first address asked for
SAVED: Any = {"persist_state": "session"}


@dataclass(frozen=True)
class Place:
    """Where the widgets are drawn: below the canvas, which sets layer, head and query, or for the frames of a clip."""

    view: View  # what the canvas shows; for a clip, the sidebar's
    model: Model
    recording: Callable[[], Recording]  # of the photo
    has_canvas: bool
    kinds: tuple[str, ...] | None = None  # on offer; None: all


@dataclass(frozen=True)
class Shown:
    """A view and, where it is a likeness to another photo, that photo's recording."""

    view: View
    title: str  # the class or the likeness that it is for, in words; "" for maps of neither
    second: Recording | None = None


@dataclass(frozen=True)
class Picked:
    """What a person picked for one setting; title and second as in Shown."""

    value: Any
    title: str = ""
    second: Recording | None = None


def canvas_place(rec: Recording, view: View) -> Place:
    """Below the canvas, which shows `view` of the recording."""
    return Place(view, rec.model, lambda: rec, has_canvas=True)


def explanation_place(rec: Recording, view: View) -> Place:
    """The same, for the kinds of map that say what a class or a likeness hangs on."""
    kinds = tuple(name for name, kind in MAP_KINDS.items() if kind.needs(TargetClass))
    return replace(canvas_place(rec, view), kinds=kinds)


def kind_labels(place: Place) -> dict[str, str]:
    """Name -> label of the kinds on offer; what the canvas shows is "above"."""
    fitting = place.recording().maps if place.has_canvas else tuple(MAP_KINDS)
    names = [name for name in fitting if place.kinds is None or name in place.kinds]
    above = " above" if place.has_canvas else ""
    return {name: MAP_KINDS[name].title + (above if MAP_KINDS[name].live else "") for name in names}


def check_map(place: Place, key: str = "map") -> None:
    """Name each setting of a link that these widgets can't show; they may be drawn only later."""
    labels = kind_labels(place)
    _note_link(key)
    check_link(key, lambda text: _read_kind(labels)(text) is not None, f"one of {', '.join(labels)}")
    settings = {setting.key: setting for kind in MAP_KINDS.values() for setting in kind.settings if setting.in_app}
    for setting in settings.values():
        if widget := _WIDGETS.get(type(setting)):
            widget.check(setting, place)


def _note_link(key: str) -> None:
    """Keep which maps the session's first address asked for, by this picker or a tab of the map's own."""
    noted = st.session_state.setdefault(LINKED_MAPS, {})
    if key not in noted:
        tab = "" if WHY in st.query_params else st.query_params.get("tab", "").lower()
        noted[key] = {current_name(st.query_params.get(key, "")), tab}


def pick_explanation(place: Place) -> Shown | None:
    """What a class hangs on, by the kind of map that tells it best; an older link to a tab of one kind shows that."""
    linked = st.session_state.get(LINKED_MAPS, {}).get(WHY, set())
    default = next((kind for kind in place.kinds or () if kind in linked), EXPLAINS_BEST)
    shown = pick_map(place, WHY, default)
    write(WHY, str(st.session_state[WHY]))  # always: what a link without it means may differ from the default
    return shown


def pick_map(place: Place, key: str = "map", default: str = DEFAULT) -> Shown | None:
    """A map of any kind on offer; None until a person has chosen what it is for."""
    labels = kind_labels(place)
    default = default if default in labels else next(iter(labels))
    take(key, _read_kind(labels), default)
    kind = st.segmented_control("Map", list(labels), format_func=labels.__getitem__, required=True, key=key, **SAVED)
    write_unless(key, default)
    st.caption(map_kind(str(kind)).help)
    return pick_settings(str(kind), place)


def _read_kind(labels: dict[str, str]) -> Read[str]:
    return lambda text: by_key(labels)(current_name(text))


def pick_settings(kind: str, place: Place) -> Shown | None:
    """The place's view as that kind of map, each of its settings by its widget; None until all are chosen."""
    drawn = [(setting, _WIDGETS[type(setting)]) for setting in _drawn(map_kind(kind), place)]
    columns: Any = [nullcontext()] * len(drawn)
    if len(drawn) > 1:
        columns = st.columns([widget.width for _, widget in drawn], gap="large" if len(drawn) == 2 else "small")
    picked: dict[str, Picked] = {}
    for (setting, widget), column in zip(drawn, columns, strict=True):
        with column:
            answer = widget.draw(setting, place)
        if answer is None:
            return None
        picked[setting.name] = answer
    view = place.view.with_map(kind, **{name: answer.value for name, answer in picked.items()})
    title = ", ".join(answer.title for answer in picked.values() if answer.title)
    return Shown(view, title, next((answer.second for answer in picked.values() if answer.second), None))


def _drawn(kind: MapKind, place: Place) -> Iterator[Setting]:
    """The settings that get a widget: none that the canvas sets; a likeness only where there is no class to explain."""
    for setting in kind.settings:
        widget = _WIDGETS.get(type(setting))
        if widget is None or not setting.in_app or (widget.on_canvas and place.has_canvas):
            continue
        if kind.needs(TargetClass) and isinstance(setting, (TargetClass, Likeness)):
            classifies = place.recording().logits is not None
            if classifies != isinstance(setting, TargetClass):
                continue
        yield setting


def _check_plain(setting: Setting, place: Place) -> None:
    read = _read(setting, place)
    check_link(setting.key, lambda text: read(text) is not None, setting.expected(place.model))


def _read(setting: Setting, place: Place) -> Read[Any]:
    """How a setting with a slider or a few words stands in the address."""
    if isinstance(setting, Choice):
        return by_key({choice: choice for choice in setting.choices})
    if isinstance(setting, Number):
        return number(float, setting.low, setting.slider_end)
    if isinstance(setting, Count):
        return number(int, setting.low, setting.high)
    if isinstance(setting, Switch):
        return by_key({"yes": "yes", "no": "no"})
    return number(int, 0, place.model.depth - 1)


def _draw_choice(setting: Choice, place: Place) -> Picked:
    take(setting.key, _read(setting, place), setting.default)
    value = st.segmented_control(setting.title, setting.choices, required=True, key=setting.key, wrap=True, **SAVED)
    write_unless(setting.key, setting.default)
    return Picked(str(value))


def _draw_number(setting: Number, place: Place) -> Picked:
    take(setting.key, _read(setting, place), float(setting.default))
    low, high = float(setting.low), float(setting.slider_end)
    value = st.slider(setting.title, low, high, step=float(setting.step), key=setting.key, **SAVED)
    write_unless(setting.key, setting.default)
    return Picked(value)


def _draw_count(setting: Count, place: Place) -> Picked:
    take(setting.key, _read(setting, place), setting.default)
    value = st.slider(setting.title, setting.low, setting.high, key=setting.key, **SAVED)
    write_unless(setting.key, setting.default)
    return Picked(value)


def _draw_switch(setting: Switch, place: Place) -> Picked:
    """Always in the address: what a link without it means may differ from the default."""
    take(setting.key, _read(setting, place), _in_words(_from_older_link(setting)))
    value = st.segmented_control(setting.title, ["yes", "no"], required=True, key=setting.key, **SAVED)
    write(setting.key, str(value))
    return Picked(value == "yes")


def _from_older_link(setting: Switch) -> bool:
    """The switch's value where no session and no link has it: a link to such a map without it was made before."""
    linked = {kind for kinds in st.session_state.get(LINKED_MAPS, {}).values() for kind in kinds}
    older = any(setting in MAP_KINDS[kind].settings for kind in linked if kind in MAP_KINDS)
    return setting.missing_means if older else setting.default


def _in_words(value: bool) -> str:
    return "yes" if value else "no"


def _draw_first_layer(setting: FirstLayer, place: Place) -> Picked:
    take(setting.key, _read(setting, place), setting.default)
    value = layer_slider(setting.title, place.model.depth, setting.key)
    write_unless(setting.key, setting.default)
    return Picked(value)


def _draw_layer(setting: Layer, place: Place) -> Picked:
    take_layer(place.model)
    value = layer_slider(setting.title, place.model.depth, setting.key)
    write_unless(setting.key, default_layer(place.model))
    return Picked(value)


def _draw_head(setting: HeadOrFusion, place: Place) -> Picked:
    options = head_options(place.model)
    take_head(options)
    value = st.select_slider(setting.title, options, key=setting.key, **SAVED)
    write_unless(setting.key, setting.default)
    return Picked(parse_head(str(value)))


def _check_class(setting: TargetClass, place: Place) -> None:
    if place.has_canvas and place.recording().logits is not None:  # a clip is not recorded for a link's sake
        read = read_class(place.recording(), class_labels(place.recording()))
        expected = "the name or number of one of the model's classes"
        for key in (setting.key, INSTEAD_OF):
            check_link(key, lambda text: read(text) is not None, expected)


def _draw_class(setting: TargetClass, place: Place) -> Picked | None:
    rec = place.recording()
    one_at, other_at = st.columns(2)
    with one_at:
        target = pick_class(rec)
    with other_at:
        other = pick_instead_of(rec)
    predicted = target is None and not place.has_canvas
    title = "each frame's predicted class" if predicted else rec.model.class_name(rec.class_index(target))
    if other is None:
        return Picked(target, title)
    if not predicted and other == rec.class_index(target):
        st.caption(f"Both are {plain(title)}: choose two different ones.")
        return None
    return Picked((target, other), f"{title} rather than {rec.model.class_name(other)}")


def _check_likeness(setting: Likeness, place: Place) -> None:
    if place.has_canvas:
        check_link("like", lambda text: by_key(LIKE)(text) is not None, f"one of {', '.join(LIKE)}")


def _draw_likeness(setting: Likeness, place: Place) -> Picked | None:
    """Like the clicked patch or another photo; the frames of a clip only like another photo."""
    if not place.has_canvas:
        st.caption("This model has no classes. Shown is what makes each frame like another photo.")
        return _pick_other_photo(place)
    take("like", by_key(LIKE), "patch")
    like = st.segmented_control(
        setting.title, list(LIKE), format_func=LIKE.__getitem__, required=True, key="like", **SAVED
    )
    write_unless("like", "patch")
    if like == "photo":
        return _pick_other_photo(place)
    query = place.view.map["query"]
    if not isinstance(query, tuple):
        st.info("Click a patch in the picture above.", icon=":material/touch_app:")
        return None
    rec = place.recording()
    likeness = similarity(rec, rec.default_query)[query]
    return Picked(query, f"the likeness to {query_name(query)} (cosine {likeness:.3f})")


def _pick_other_photo(place: Place) -> Picked:
    """Another photo, by the same model at the same size."""
    rec, first = place.recording(), place.view.photo
    photo = pick_second_photo("Photo", "like_photo", first.image)
    size = first.size or rec.model.input_size
    other = cached.record(rec.model, photo, size, first.fit)
    likeness = cosine(rec.feature, other.feature)
    return Picked(photo.source, f"the likeness to {photo.title} (cosine {likeness:.3f})", other)


@dataclass(frozen=True)
class Widget:
    """How a type of setting is drawn, and how what a link asks of it is checked."""

    draw: Callable[[Any, Place], Picked | None]
    check: Callable[[Any, Place], None] = lambda setting, place: None
    width: int = 1  # beside other widgets
    on_canvas: bool = False  # whether the canvas sets it, where there is one


# A query has none: the canvas sets it, and a clip is asked from each frame's default.
_WIDGETS: dict[type[Setting], Widget] = {
    Choice: Widget(_draw_choice, _check_plain),
    Number: Widget(_draw_number, _check_plain),
    Count: Widget(_draw_count, _check_plain),
    Switch: Widget(_draw_switch, _check_plain),
    FirstLayer: Widget(_draw_first_layer, _check_plain),
    Layer: Widget(_draw_layer, width=3, on_canvas=True),
    HeadOrFusion: Widget(_draw_head, width=2, on_canvas=True),
    TargetClass: Widget(_draw_class, _check_class),
    Likeness: Widget(_draw_likeness, _check_likeness),
}


def class_labels(rec: Recording) -> dict[str, str]:
    """What names a class in links -> how it is shown: the predicted one, then all by their likelihood.

    A name that several classes share, or that reads like another's number, goes by its number in both.
    """
    assert rec.logits is not None
    order = np.argsort(-rec.logits, kind="stable")
    keys, names = _class_keys(rec), rec.model.class_names
    labels = {PREDICTED: "The predicted one"}  # always this label: the browser would keep the name of another photo's
    for index in order:
        labels[keys[index]] = f"{names[index]} ({index})" if names else f"class {index}"
    return labels


def _class_keys(rec: Recording) -> list[str]:
    """What names each class in links: its name where no other has it, else its number, "#3" where that is a name."""
    assert rec.logits is not None
    names = rec.model.class_names or [""] * len(rec.logits)
    counts = Counter(names)
    unique = [name and counts[name] == 1 and name not in (PREDICTED, NO_OTHER) for name in names]
    numbers = [f"#{index}" if str(index) in counts else str(index) for index in range(len(names))]
    return [name if own else number_ for name, own, number_ in zip(names, unique, numbers, strict=True)]


def read_class(rec: Recording, labels: Mapping[str, str]) -> Read[str]:
    """Reads one of `labels` as a link has it, else a class by its name or number as commands do: a name comes first."""

    def read(text: str) -> str | None:
        try:
            return by_key(labels)(text) or _class_keys(rec)[rec.class_index(text)]
        except QueryError:
            return None

    return read


def pick_class(rec: Recording) -> int | None:
    """A class by name, the likeliest first; None: the predicted one, whichever that is."""
    labels = class_labels(rec)
    take("class", read_class(rec, labels), PREDICTED)
    picked = st.selectbox(
        "Class", list(labels), format_func=labels.__getitem__, key="class", **SAVED,
        help="Type a part of its name. The likeliest come first.",
    )  # fmt: skip
    write_unless("class", PREDICTED)
    return None if picked == PREDICTED else _class_keys(rec).index(picked)


def pick_instead_of(rec: Recording) -> int | None:
    """A second class, to ask why the first and not this one; None: the first is explained alone."""
    labels = {NO_OTHER: "No other: its logit alone"} | class_labels(rec)
    del labels[PREDICTED]
    take(INSTEAD_OF, read_class(rec, labels), NO_OTHER)
    picked = st.selectbox(
        "Instead of", list(labels), format_func=labels.__getitem__, key=INSTEAD_OF, **SAVED,
        help="Explains the difference between two classes: why this one and not the other.",
    )  # fmt: skip
    write_unless(INSTEAD_OF, NO_OTHER)
    return None if picked == NO_OTHER else _class_keys(rec).index(picked)
