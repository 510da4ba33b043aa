"""A picture as wide as its place, whose patches show their values under the pointer and can be picked."""

import base64
import io
from collections.abc import Callable

import numpy as np
from PIL import Image
from streamlit.components.v2 import component

from explorer.ui.components import asset

_picture = component(
    "vit_clickable_picture",
    html=asset("clickable_picture.html"),
    css=asset("clickable_picture.css"),
    js=asset("clickable_picture.js"),
)


def clickable_picture(
    image: Image.Image,
    values: np.ndarray,
    key: str,
    alt: str,
    patch: tuple[int, int] | None = None,
    on_pick: Callable[[], None] | None = None,
) -> None:
    """Draw it, with `patch` framed, values (rows, cols); with on_pick a click or an arrow key picks one, and runs it.

    st.session_state[key]["patch"] is [row, col] then.
    """
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    data = {
        "src": f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}",
        "grid": values.shape, "values": values.ravel().tolist(), "patch": patch, "pickable": on_pick is not None,
        "alt": alt,
    }  # fmt: skip
    _picture(key=key, data=data, on_patch_change=on_pick or (lambda: None))
