"""Photos behind the numbers: a confusion cell or a class opens them, with maps of what spoke for each class."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import exp
from pathlib import Path
from typing import Any

import streamlit as st

from explorer.data.changes import Change
from explorer.errors import DataError
from explorer.models.backbone import Model
from explorer.ui.attention_pictures import ClassOrTwo, class_picture, open_in_attention, seen_picture
from explorer.ui.changes import change_photo, kept_changes, sha_of, show_changes
from explorer.ui.components.pictures import photo_strip
from explorer.ui.datasets import small_jpeg
from explorer.ui.messages import plain, show_errors
from explorer.ui.scores import Cell, classes_present, per_class_table, pick_confusion
from explorer.words import percent

ANY = ""  # no class in particular
STRIP = 24  # photos that are shown as small pictures at a time
SIDE = 84  # pixels of one
KEPT: Any = {"persist_state": "session"}


@dataclass(frozen=True)
class Photos:
    """Predicted photos whose class is known, the highest losses first, and the model that predicted them.

    rows: image (path), name, actual, predicted, probability and loss each. metrics: of all of them. model: None where
    it is gone. key: begins the keys of the session. opens: the registry key that Attention is opened with, "" where it
    can't be, None for the sidebar's. size: side of the model's input, None for its own. data: the data set that they
    come from, beside which changes are kept; None where nothing can be trained on it. class_names: of the data, which a
    photo may be given. folders: a photo's class in the data, where the model calls it otherwise.
    """

    rows: list[dict[str, Any]]
    metrics: dict[str, Any]
    model: Model | None
    key: str
    opens: str | None = None
    size: int | None = None
    data: Path | None = None
    class_names: Sequence[str] = ()
    folders: Mapping[str, str] = field(default_factory=dict)


@st.fragment
def explore(photos: Photos) -> None:
    """Confusion and classes to click, the photos behind what was clicked, and what was changed of them."""
    shown = [photos.metrics["class_names"][index] for index in classes_present(photos.metrics)]
    _begin(photos)
    left, right = st.columns(2, gap="large", vertical_alignment="center")
    with left:
        picked = st.session_state[f"{photos.key}_actual"], st.session_state[f"{photos.key}_predicted"]
        pick_confusion(photos.metrics, f"{photos.key}_confusion", picked, lambda cell: _filter(photos.key, cell))
    with right:
        per_class_table(photos.metrics, f"{photos.key}_classes", lambda name: _filter(photos.key, (name, ANY)))
    st.caption("Click a number or a class to see its photos.")
    st.header("Photos", anchor=False)
    found = _filtered(photos, shown)
    if found:
        _strip(photos, found)
        _large(photos, found)
    else:
        st.caption("No photo is like that.")
    if photos.data:
        show_changes(photos.data, photos.key)


def _begin(photos: Photos) -> None:
    """At first the mistakes of all classes, or all photos where there is none."""
    any_wrong = any(map(_is_wrong, photos.rows))
    for name, value in {"actual": ANY, "predicted": ANY, "wrong": any_wrong, "at": 0}.items():
        st.session_state.setdefault(f"{photos.key}_{name}", value)


def _filter(key: str, cell: Cell) -> None:
    """Show the photos of a cell, or with ANY in it of a whole class, its right ones too."""
    st.session_state.update(
        {f"{key}_actual": cell[0], f"{key}_predicted": cell[1], f"{key}_wrong": False, f"{key}_at": 0}
    )


def _is_wrong(row: dict[str, Any]) -> bool:
    return row["actual"] != row["predicted"]


def _filtered(photos: Photos, class_names: list[str]) -> list[dict[str, Any]]:
    """The boxes, and the photos that they leave."""
    key = photos.key
    columns = st.columns([2, 2, 1.3], gap="medium", vertical_alignment="bottom")
    labels = {ANY: "any class", **{name: name for name in class_names}}
    for column, name, title in zip(columns, ("actual", "predicted"), ("Actual class", "Predicted as"), strict=False):
        if st.session_state[f"{key}_{name}"] not in labels:  # of another model's classes
            st.session_state[f"{key}_{name}"] = ANY
        column.selectbox(
            title, list(labels), key=f"{key}_{name}", format_func=labels.__getitem__, on_change=_first, args=(key,),
            **KEPT,
        )  # fmt: skip
    columns[2].toggle("Only wrong", key=f"{key}_wrong", on_change=_first, args=(key,), **KEPT)
    actual, predicted = (st.session_state[f"{key}_{name}"] for name in ("actual", "predicted"))
    return [
        row
        for row in photos.rows
        if actual in (ANY, row["actual"])
        and predicted in (ANY, row["predicted"])
        and (_is_wrong(row) or not st.session_state[f"{key}_wrong"])
    ]


def _first(key: str) -> None:
    st.session_state[f"{key}_at"] = 0


def _strip(photos: Photos, found: list[dict[str, Any]]) -> None:
    """The photos around the one that is shown, the highest losses first, as small pictures."""
    at = max(0, min(st.session_state[f"{photos.key}_at"], len(found) - 1))  # a double click asks for one beyond an end
    st.session_state[f"{photos.key}_at"] = at
    start = at // STRIP * STRIP
    out, small, faded = _left_out(photos), {}, []
    for place, row in enumerate(found[start : start + STRIP], start):
        jpeg = small_jpeg(row["image"], SIDE)
        if jpeg:
            predicted = f"predicted {row['predicted']} ({percent(row['probability'], 0)})"
            small[str(place)] = (f"{row['actual']}, {predicted}", jpeg)
            if out and _sha(row) in out:
                faded.append(str(place))
    key = f"{photos.key}_strip"
    with st.container(key=f"{photos.key}_photos"):
        photo_strip(small, str(at), key, lambda: _take(photos.key), SIDE, faded)


def _left_out(photos: Photos) -> set[str]:
    """Hashes of the photos that the next training goes without."""
    with suppress(DataError):  # said once, below
        if photos.data:
            return {entry.sha for entry in kept_changes(photos.data).entries if entry.class_name is None}
    return set()


def _take(key: str) -> None:
    if (picked := st.session_state[f"{key}_strip"]["picked"]) is not None:
        st.session_state[f"{key}_at"] = int(picked)


def _go(key: str, step: int) -> None:
    st.session_state[f"{key}_at"] += step


def _large(photos: Photos, found: list[dict[str, Any]]) -> None:
    """One photo at a readable size beside the maps of its class and of the predicted one."""
    key, at = photos.key, st.session_state[f"{photos.key}_at"]
    row = found[at]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Previous", key=f"{key}_previous", icon=":material/chevron_left:", disabled=at == 0, on_click=_go,
                  args=(key, -1))  # fmt: skip
        st.button("Next", key=f"{key}_next", icon=":material/chevron_right:", disabled=at == len(found) - 1,
                  on_click=_go, args=(key, 1))  # fmt: skip
        st.markdown(f"{at + 1:,} of {len(found):,} · {_verdict(row)}")
    with show_errors():
        _pictures(photos, row)
    with show_errors():
        _what_to_do(photos, row)


def _verdict(row: dict[str, Any]) -> str:
    """What was predicted, and what it is where that was wrong."""
    if not _is_wrong(row):
        return f":green[:material/check:] **{plain(row['predicted'])}** {percent(row['probability'], 0)}"
    is_really = f"actually **{plain(row['actual'])}** ({percent(exp(-row['loss']), 0)})" if "loss" in row else ""
    return f":red[:material/close:] **{plain(row['predicted'])}** {percent(row['probability'], 0)}, {is_really}"


def _pictures(photos: Photos, row: dict[str, Any]) -> None:
    """What the model saw, and where it found each of the two classes."""
    if photos.model is None:
        st.image(row["image"], caption=plain(row["name"]), width=420)
        return
    places = st.columns(3, gap="medium")
    places[0].image(seen_picture(photos.model, row["image"], photos.size), caption=plain(_file(row)), width="stretch")
    names = photos.metrics["class_names"]
    actual, predicted = (names.index(row[key]) for key in ("actual", "predicted"))
    wanted: dict[str, ClassOrTwo] = {f"What speaks for {names[actual]}": actual}
    if actual != predicted:  # of two classes alike the maps are, too: what decides is the difference of their scores
        pairs = (actual, predicted), (predicted, actual)
        wanted = {f"What speaks for {names[one]} rather than {names[other]}": (one, other) for one, other in pairs}
    for place, (caption, target) in zip(places[1:], wanted.items(), strict=False):
        with place:
            picture = class_picture(photos.model, row["image"], target, photos.size)
            st.image(picture, caption=plain(caption), width="stretch")


def _what_to_do(photos: Photos, row: dict[str, Any]) -> None:
    if photos.data:
        name = row["name"].encode(errors="backslashreplace").decode()  # of a file whose name is no text
        photo = Change(_sha(row), name, photos.folders.get(row["name"], row["actual"]))
        with suppress(DataError):  # said once, below
            change_photo(photos.data, photo, photos.class_names, photos.key)
    offered = photos.model is not None and photos.opens != ""
    if offered and st.button("Open photo in Attention", icon=":material/my_location:", key=f"{photos.key}_open"):
        open_in_attention(photos.opens, row["image"], _file(row), photos.size)


def _sha(row: dict[str, Any]) -> str:
    """sha256 of a photo's file, which rows of earlier releases don't hold."""
    return row.get("sha") or sha_of(row["image"])


def _file(row: dict[str, Any]) -> str:
    return row["name"].rsplit("/", 1)[-1]
