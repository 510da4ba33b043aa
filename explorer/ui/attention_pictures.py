"""Small pictures of a photo with a model's attention on it, kept between reruns; and the way to the Attention page."""

from pathlib import Path

import streamlit as st
from PIL import Image

import explorer
from explorer.errors import ImageError
from explorer.files import stamp
from explorer.models import registry
from explorer.models.backbone import Model
from explorer.ui import cached
from explorer.ui.model_picker import pick_next
from explorer.ui.navigation import page_named
from explorer.ui.photos import add_photo, pick_photo_next
from explorer.ui.sidebar import pick_view_next
from explorer.ui.view_settings import DEFAULTS, change_settings, default_layer

ClassOrTwo = int | tuple[int, int]
ENLARGED = 2  # times the side that the model sees
EARLIER = "layer", "head", "tab", "map"  # of the Attention page; Streamlit keeps such values between pages


def attention_picture(model: Model, image: str, size: int | None = None, layer: int | None = None) -> Image.Image:
    """The image as the model sees it, with one layer's head-mean attention; by default the Attention page's layer.

    Raises ExplorerError where the image can't be read or recorded.
    """
    layer = default_layer(model) if layer is None else layer
    return _picture(cached.model_number(model), model, image, stamp(image), size, layer)


def seen_picture(model: Model, image: str, size: int | None = None) -> Image.Image:
    """What the model sees of the image, enlarged; ImageError where it can't be read."""
    return _enlarged(model.fit(image, size))


def class_picture(model: Model, image: str, target: ClassOrTwo, size: int | None = None) -> Image.Image:
    """The same with its relevance for a class by index, or for the first of two rather than the second.

    Raises ExplorerError where the image can't be read, or the model can't be explained.
    """
    return _class_picture(cached.model_number(model), model, image, stamp(image), target, size)


@st.cache_data(max_entries=300, show_spinner=False)
def _class_picture(
    number: int, _model: Model, image: str, stamp: tuple | None, target: ClassOrTwo, size: int | None
) -> Image.Image:
    recording = explorer.record(_model, image, size=size)
    return explorer.overlay(_enlarged(recording.image), recording.map_with_note("relevance", target=target)[0])


def _enlarged(image: Image.Image) -> Image.Image:
    return image.resize((ENLARGED * image.width, ENLARGED * image.height), Image.Resampling.BICUBIC)


@st.cache_data(max_entries=300, show_spinner=False)
def _picture(number: int, _model: Model, image: str, stamp: tuple | None, size: int | None, layer: int) -> Image.Image:
    # Not through the shared cache of recordings: a page of these would push out the one on the other pages.
    recording = explorer.record(_model, image, size=size)
    return explorer.overlay(recording.image, recording.attention(layer))


def can_compare(first: Model, second: Model) -> bool:
    """Whether Compare's boxes can name both models."""
    return all(_key(model) and model.source.arch is None for model in (first, second))


def _key(model: Model) -> str | None:
    """The registry key of a model; None where it isn't on offer."""
    entry = registry.find(registry.absolute_source(model.source).source)
    return entry.key if entry else None


def open_in_compare(before: Model, after: Model, image: str, name: str, size: int | None = None) -> None:
    """Go to Compare with that photo and both models, which can_compare: the one before on the left, the last layer."""
    _pick(image, name)
    pick_next(_key(after) or after.source.source)
    pick_view_next(size)
    st.session_state.update(side="model", head="mean", layer=after.depth - 1)
    st.session_state["with"] = _key(before)
    st.switch_page(page_named("compare"), query_params={})


def open_in_attention(
    model: str | None = None, image: str | None = None, name: str = "", size: int | None = None
) -> None:
    """Go to the Attention page with that model (a registry key) and that photo; None leaves the sidebar's.

    It shows attention_picture(model, image, size): what was asked, chosen and opened there before doesn't count, nor
    do the sidebar's size and fit.
    """
    if image:
        _pick(image, name or Path(image).name)
    if model:
        pick_next(model)
    pick_view_next(size)
    change_settings(**DEFAULTS)
    for key in EARLIER:
        st.session_state.pop(key, None)
    # Without query_params Streamlit would refuse, since it may not clear those that are bound to widgets.
    st.switch_page(page_named("attention"), query_params={})


def _pick(image: str, name: str) -> None:
    """Have the sidebar show that file from the next run on; ImageError where it is gone."""
    try:
        with open(image, "rb") as file:
            pick_photo_next(add_photo(file, name))
    except OSError as error:
        raise ImageError(f"'{name}' is no longer on the server ({error.strerror}).") from error
