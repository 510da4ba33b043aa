"""Thumbnails of photos in rows; a click picks one."""

import base64
from collections.abc import Callable, Sequence

from streamlit.components.v2 import component

from explorer.ui.components import asset
from explorer.ui.photos import Photo

_strip = component(
    "vit_photo_strip",
    html='<div class="strip" role="radiogroup" aria-label="Photo"></div>',
    css=asset("photo_strip.css"),
    js=asset("photo_strip.js"),
)


def photo_strip(photos: Sequence[Photo], picked: Photo, key: str, on_pick: Callable[[], None]) -> None:
    """Draw them with one picked; on_pick runs after a click; st.session_state[key]["picked"] is the photo then."""
    thumbnails = [
        {"key": photo.key, "title": photo.title, "src": f"data:image/jpeg;base64,{_base64(photo)}"} for photo in photos
    ]
    # A tuple: to see whether a list is a table, Streamlit would import pandas, a second before the first picture.
    _strip(key=key, data={"photos": tuple(thumbnails), "picked": picked.key}, on_picked_change=on_pick)


def _base64(photo: Photo) -> str:
    return base64.b64encode(photo.thumbnail).decode()
