"""A photo as its patches: they come apart, the one under the mouse is enlarged, a click picks it."""

import base64
import io
from collections.abc import Callable

from PIL import Image
from streamlit.components.v2 import component

from explorer.ui.components import asset, script

_picker = component(
    "vit_patch_picker",
    html=asset("patch_picker.html"),
    css=asset("patch_picker.css"),
    js=script(asset("patch_picker.js")),
)


def patch_picker(
    image: Image.Image, grid: tuple[int, int], patch: tuple[int, int], key: str, on_pick: Callable[[], None]
) -> None:
    """Draw it with one patch picked; on_pick runs after a click; st.session_state[key]["patch"] is [row, col] then."""
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    source = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    _picker(key=key, data={"src": source, "grid": grid, "patch": patch}, on_patch_change=on_pick)
