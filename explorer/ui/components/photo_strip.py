"""Thumbnails of photos in rows; a click picks one."""

import base64
from collections.abc import Callable, Mapping

from streamlit.components.v2 import component

from explorer.ui.components import asset

_strip = component(
    "vit_photo_strip",
    html='<div class="strip" role="radiogroup" aria-label="Photo"></div>',
    css=asset("photo_strip.css"),
    js=asset("photo_strip.js"),
)


def photo_strip(photos: Mapping[str, tuple[str, bytes]], picked: str, key: str, on_pick: Callable[[], None]) -> None:
    """Draw photos, {key: (title, JPEG)}, with one picked.

    on_pick runs after a click; st.session_state[key]["picked"] is the photo's key then.
    """
    thumbnails = [
        {"key": name, "title": title, "src": f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"}
        for name, (title, jpeg) in photos.items()
    ]
    _strip(key=key, data={"photos": thumbnails, "picked": picked}, on_picked_change=on_pick)
