"""Which map of the Attention page's view: raw attention, rollout or relevance, each with its settings.

Several tabs draw these widgets, one at a time; all share their values, and the address holds them.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import streamlit as st

from explorer.attention.features import cosine, similarity
from explorer.attention.queries import FUSIONS, query_name
from explorer.attention.recording import Recording
from explorer.rendering.view import View
from explorer.ui import cached
from explorer.ui.address import by_key, number, take, write_unless
from explorer.ui.messages import check_link
from explorer.ui.second import pick_second_photo

MAPS = {"raw": "Attention above", "rollout": "Rollout", "relevance": "Relevance"}
LIKE = {"patch": "Clicked patch", "photo": "Another photo"}
PREDICTED = "predicted"
SAVED: Any = {"persist_state": "session"}


@dataclass(frozen=True)
class Shown:
    """A view and, where it is a likeness to another photo, that photo's recording."""

    view: View
    title: str  # what relevance is for; "" for other maps
    second: Recording | None = None


def check_map(rec: Recording) -> None:
    """Name what a link asks of these widgets in vain; they may be drawn only later."""
    check_link("map", _key(MAPS), f"one of {', '.join(MAPS)}")
    check_rollout(rec.depth)
    check_link("like", _key(LIKE), f"one of {', '.join(LIKE)}")
    if rec.logits is not None:
        check_link("class", _key(class_labels(rec)), "the name or number of one of the model's classes")


def check_rollout(depth: int) -> None:
    """The same of a rollout's three settings."""
    check_link("fusion", FUSIONS.__contains__, f"one of {', '.join(FUSIONS)}")
    check_link("discard_ratio", lambda text: number(float, 0, 0.95)(text) is not None, "from 0 to 0.95")
    check_link("start_layer", lambda text: number(int, 0, depth - 1)(text) is not None, f"from 0 to {depth - 1}")


def _key(labels: Mapping[str, str]) -> Callable[[str], bool]:
    return lambda text: by_key(labels)(text) is not None


def pick_map(rec: Recording, view: View) -> Shown | None:
    """A map of any kind; None until a person has chosen what its relevance is for."""
    take("map", by_key(MAPS), "raw")
    kind = st.segmented_control("Map", list(MAPS), format_func=MAPS.__getitem__, required=True, key="map", **SAVED)
    write_unless("map", "raw")
    if kind == "rollout":
        return Shown(pick_rollout(view, rec.depth), "")
    return pick_relevance(rec, view) if kind == "relevance" else Shown(view, "")


def pick_rollout(view: View, depth: int) -> View:
    """The view as a rollout, with its three settings."""
    fusion_at, discard_at, start_at = st.columns(3)
    take("fusion", by_key({name: name for name in FUSIONS}), "mean")
    take("discard_ratio", number(float, 0, 0.95), 0.0)
    take("start_layer", number(int, 0, depth - 1), 0)
    fusion = fusion_at.segmented_control("Heads fused by", FUSIONS, required=True, key="fusion", **SAVED)
    discard = discard_at.slider("Discard the lowest share", 0.0, 0.95, step=0.05, key="discard_ratio", **SAVED)
    start = start_at.slider("Start at layer", 0, depth - 1, key="start_layer", **SAVED)
    for key, default in (("fusion", "mean"), ("discard_ratio", 0.0), ("start_layer", 0)):
        write_unless(key, default)
    return replace(view, kind="rollout", fusion=str(fusion), discard_ratio=discard, start_layer=start)


def pick_relevance(rec: Recording, view: View) -> Shown | None:
    """The view as relevance of a class; without classes, of the likeness to the clicked patch or another photo."""
    view = replace(view, kind="relevance")
    if rec.logits is not None:
        target = pick_class(rec)
        return Shown(replace(view, target=target), class_title(rec, target))
    take("like", by_key(LIKE), "patch")
    like = st.segmented_control("Like", list(LIKE), format_func=LIKE.__getitem__, required=True, key="like", **SAVED)
    write_unless("like", "patch")
    if like == "photo":
        return like_photo(rec, view)
    if not isinstance(view.query, tuple):
        st.info("Click a patch in the picture above.", icon=":material/touch_app:")
        return None
    likeness = similarity(rec, rec.default_query)[view.query]
    return Shown(
        replace(view, similar_to=view.query), f"the likeness to {query_name(view.query)} (cosine {likeness:.3f})"
    )


def like_photo(rec: Recording, view: View) -> Shown:
    """Relevance of the likeness to another photo, by the same model at the same size."""
    photo = pick_second_photo("Photo", "like_photo", view.image)
    other = cached.record(rec.model, photo, view.size or rec.model.input_size, view.fit, view.arch, view.num_heads)
    likeness = cosine(rec.feature, other.feature)
    return Shown(
        replace(view, similar_to=photo.source), f"the likeness to {photo.title} (cosine {likeness:.3f})", other
    )


def class_labels(rec: Recording) -> dict[str, str]:
    """What names a class in links -> how it is shown: the predicted one, then all by their likelihood.

    A name that several classes share is told apart by its number, in both.
    """
    assert rec.logits is not None
    order = np.argsort(-rec.logits, kind="stable")
    names = rec.model.class_names or [str(index) for index in range(len(rec.logits))]
    counts = Counter(names)
    labels = {PREDICTED: "The predicted one"}  # always this label: the browser would keep the name of another photo's
    for index in order:
        name = names[index]
        unique = rec.model.class_names and counts[name] == 1 and not name.isdigit() and name != PREDICTED
        labels[name if unique else str(index)] = f"{name} ({index})" if rec.model.class_names else f"class {index}"
    return labels


def pick_class(rec: Recording) -> int | None:
    """A class by name, the likeliest first; None: the predicted one, whichever that is."""
    labels = class_labels(rec)
    take("class", by_key(labels), PREDICTED)
    picked = st.selectbox(
        "Class", list(labels), format_func=labels.__getitem__, key="class", **SAVED,
        help="Type a part of its name. The likeliest come first.",
    )  # fmt: skip
    write_unless("class", PREDICTED)
    return None if picked == PREDICTED else _index(rec, picked)


def _index(rec: Recording, name: str) -> int:
    return int(name) if name.isdigit() else list(rec.model.class_names or []).index(name)


def class_title(rec: Recording, target: int | None) -> str:
    """The name of a class, of the predicted one with None."""
    return rec.model.class_name(rec.class_index(target))
