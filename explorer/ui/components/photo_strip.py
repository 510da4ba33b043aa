"""Thumbnails of photos in rows; a click picks one."""

import base64
from collections.abc import Callable, Collection, Mapping

from streamlit.components.v2 import component

from explorer.ui.components import asset

_strip = component(
    "vit_photo_strip",
    html='<div class="strip" role="radiogroup" aria-label="Photo"></div>',
    css=asset("photo_strip.css"),
    js=asset("photo_strip.js"),
)


def photo_strip(
    photos: Mapping[str, tuple[str, bytes]],
    picked: str,
    key: str,
    on_pick: Callable[[], None],
    side: int = 46,
    faded: Collection[str] = (),
) -> None:
    """Draw photos, {key: (title, JPEG)}, with one picked; side: pixels of one at least; faded: keys of pale ones.

    on_pick runs after a click; st.session_state[key]["picked"] is the photo's key then.
    """
    thumbnails = [
        {
            "key": name,
            "title": title,
            "src": f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}",
            "faded": name in faded,
        }
        for name, (title, jpeg) in photos.items()
    ]
    # A tuple: to see whether a list is a table, Streamlit would import pandas, a second before the first picture.
    shown = {"photos": tuple(thumbnails), "picked": picked, "side": side}
    _strip(key=key, data=shown, on_picked_change=on_pick)
