"""A picture whose patches are painted out: a click or a stroke takes them out or puts them back."""

import base64
import io
from collections.abc import Callable, Sequence

from PIL import Image
from streamlit.components.v2 import component

from explorer.ui.components import asset, script

_painter = component(
    "vit_patch_painter",
    html=asset("patch_painter.html"),
    css=asset("patch_painter.css"),
    js=script(asset("patch_painter.js")),
)


def patch_painter(
    image: Image.Image,
    grid: tuple[int, int],
    patches: Sequence[tuple[int, int]],
    seq: int,
    key: str,
    on_paint: Callable[[], None],
) -> None:
    """Draw it with these patches out; on_paint runs after each click or stroke.

    st.session_state[key]["stroke"] is {"patches": [[row, col], …], "seq"} then. seq: number of the newest stroke that
    patches has; what a person painted since then stays.
    """
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    data = {
        "src": f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}",
        "grid": grid, "patches": patches, "seq": seq,
        "alt": f"The photo as {grid[0]} by {grid[1]} patches; arrow keys move, space takes a patch out.",
    }  # fmt: skip
    _painter(key=key, data=data, on_stroke_change=on_paint)
