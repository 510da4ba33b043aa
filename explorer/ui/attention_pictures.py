"""Small pictures of a photo with a model's attention on it, kept between reruns; and the way to the Attention page."""

from pathlib import Path

import streamlit as st
from PIL import Image, ImageOps

import explorer
from explorer.data.images import open_image
from explorer.errors import ImageError
from explorer.models.backbone import Model
from explorer.ui import cached
from explorer.ui.model_picker import pick_next
from explorer.ui.navigation import page_named
from explorer.ui.photos import add_photo, pick_photo_next
from explorer.ui.sidebar import pick_view_next
from explorer.ui.view_settings import DEFAULTS, change_settings, default_layer

PLAIN_SIDE = 224
EARLIER = "layer", "head", "tab", "map"  # of the Attention page; Streamlit keeps such values between pages


def attention_picture(model: Model, image: str, size: int | None = None, layer: int | None = None) -> Image.Image:
    """The image as the model sees it, with one layer's head-mean attention; by default the Attention page's layer.

    Raises ExplorerError where the image can't be read or recorded.
    """
    layer = default_layer(model) if layer is None else layer
    return _picture(cached.model_number(model), model, image, size, layer)


def plain_picture(image: str) -> Image.Image:
    """The middle of the image, at the size of the pictures above; ImageError where it can't be read."""
    return ImageOps.fit(open_image(image), (PLAIN_SIDE, PLAIN_SIDE))


@st.cache_data(max_entries=300, show_spinner=False)
def _picture(number: int, _model: Model, image: str, size: int | None, layer: int) -> Image.Image:
    # Not through the shared cache of recordings: a page of these would push out the one on the other pages.
    recording = explorer.record(_model, image, size=size)
    return explorer.overlay(recording.image, recording.attention(layer))


def open_in_attention(
    model: str | None = None, image: str | None = None, name: str = "", size: int | None = None
) -> None:
    """Go to the Attention page with that model (a registry key) and that photo; None leaves the sidebar's.

    It shows attention_picture(model, image, size): what was asked, chosen and opened there before doesn't count, nor
    do the sidebar's size and fit.
    """
    if image:
        try:
            with open(image, "rb") as file:
                pick_photo_next(add_photo(file, name or Path(image).name))
        except OSError as error:
            raise ImageError(f"'{name or Path(image).name}' is no longer on the server ({error.strerror}).") from error
    if model:
        pick_next(model)
    pick_view_next(size)
    change_settings(**DEFAULTS)
    for key in EARLIER:
        st.session_state.pop(key, None)
    # Without query_params Streamlit would refuse, since it may not clear those that are bound to widgets.
    st.switch_page(page_named("attention"), query_params={})
