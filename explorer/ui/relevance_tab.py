"""The Relevance tab: which patches speak for a class, beside rollout and raw attention."""

from dataclasses import replace

import numpy as np
import streamlit as st
from PIL import Image

from explorer.attention.features import cosine, similarity
from explorer.attention.recording import Recording
from explorer.attention.relevance import image_feature
from explorer.rendering.view import View, paint, picture
from explorer.ui import cached
from explorer.ui.attention_settings import head_name, query_name
from explorer.ui.second import pick_second_photo


def relevance_tab(rec: Recording, view: View) -> None:
    """For any class by name, top classes first; without classes, for the likeness to a patch or another photo."""
    found = _for_class(rec) if rec.logits is not None else _for_likeness(rec, view)
    if found is None:
        return
    title, heatmap = found
    rolled = replace(view, kind="rollout", query=None, mass=None)
    asked = f"{query_name(view.query or rec.default_query)}, layer {view.layer}, {head_name(view.head)}"
    panels = {
        f"Relevance for {title}": _painted(view, rec, heatmap),
        f"Rollout from {query_name(rec.default_query)}": picture(rolled, rec, zoom=2),
        f"Attention from {asked}": picture(replace(view, mass=None), rec, zoom=2),
    }
    for column, (caption, image) in zip(st.columns(3), panels.items(), strict=True):
        column.image(image, caption=caption, width="stretch")


def _painted(view: View, rec: Recording, heatmap: np.ndarray) -> Image.Image:
    image = rec.image.resize((rec.image.width * 2, rec.image.height * 2), Image.Resampling.BICUBIC)
    return paint(view, image, heatmap, float(heatmap.min()), float(heatmap.max()))


def class_options(rec: Recording) -> list[str]:
    """Every class as "name (index)", the likeliest first."""
    assert rec.logits is not None
    names = rec.model.class_names
    return [f"{names[i]} ({i})" if names else f"class {i}" for i in np.argsort(-rec.logits, kind="stable")]


def class_of(option: str) -> int:
    """The index in an option of class_options."""
    return int(option.rstrip(")").replace("(", " ").split()[-1])


def pick_class(rec: Recording, key: str) -> int:
    """A class by name, the likeliest first."""
    options = class_options(rec)
    if st.session_state.get(key) not in (None, *options):
        del st.session_state[key]  # of another model
    return class_of(st.selectbox("Class", options, key=key, help="Type a part of its name. The likeliest come first."))


def _for_class(rec: Recording) -> tuple[str, np.ndarray]:
    st.caption(
        "Attention weighted by what it does to the chosen class, through all layers (Chefer et al. 2021). "
        "Another class lights up other patches."
    )
    target = pick_class(rec, "relevance_class")
    names = rec.model.class_names
    with st.spinner("Following the gradient through the layers …", show_time=False):
        return names[target] if names else f"class {target}", rec.relevance(target)


def _for_likeness(rec: Recording, view: View) -> tuple[str, np.ndarray] | None:
    st.caption(
        "This model has no classes. Shown is what makes this photo's feature like the clicked patch, or like another "
        "photo, through all layers (Chefer et al. 2021)."
    )
    to = st.segmented_control("Like", ["Clicked patch", "Another photo"], default="Clicked patch", required=True)
    if to == "Another photo":
        photo = pick_second_photo("Photo", "like_photo", view.image)
        other = cached.record(rec.model, photo, view.size or rec.model.input_size, view.fit, view.arch, view.num_heads)
        likeness = cosine(image_feature(rec), image_feature(other))
        title, similar = f"the likeness to {photo.title} (cosine {likeness:.3f})", other
    elif isinstance(view.query, tuple):
        likeness = similarity(rec, rec.default_query)[view.query]
        title, similar = f"the likeness to {query_name(view.query)} (cosine {likeness:.3f})", view.query
    else:
        st.info("Click a patch in the picture above.", icon=":material/touch_app:")
        return None
    with st.spinner("Following the gradient through the layers …", show_time=False):
        return title, rec.relevance(similar_to=similar)
