"""Pictures that answer the mouse and the arrow keys: a patch is picked, patches are painted out, a photo is picked."""

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
from PIL import Image
from streamlit.components.v2 import component

from explorer.data.images import jpeg_uri, png_uri
from explorer.ui.components import asset, script

_picture = component(
    "vit_clickable_picture",
    html=asset("clickable_picture.html"),
    css=asset("clickable_picture.css"),
    js=script(asset("patch_grid.js"), asset("clickable_picture.js")),
)
_picker = component(
    "vit_patch_picker",
    html=asset("patch_picker.html"),
    css=asset("patch_picker.css"),
    js=script(asset("patch_grid.js"), asset("patch_picker.js")),
)
_painter = component(
    "vit_patch_painter",
    html=asset("patch_painter.html"),
    css=asset("patch_painter.css"),
    js=script(asset("patch_grid.js"), asset("patch_painter.js")),
)
_strip = component(
    "vit_photo_strip",
    html='<div class="strip" role="radiogroup" aria-label="Photo"></div>',
    css=asset("photo_strip.css"),
    js=asset("photo_strip.js"),
)


def clickable_picture(
    image: Image.Image,
    values: np.ndarray,
    key: str,
    alt: str,
    patch: tuple[int, int] | None = None,
    on_pick: Callable[[], None] | None = None,
) -> None:
    """Draw a map, as wide as its place, whose patches show their values (rows, cols); `patch` is framed.

    With on_pick a click or an arrow key picks one, and runs it; st.session_state[key]["patch"] is [row, col] then.
    """
    data = {
        "src": png_uri(image), "grid": values.shape, "values": values.ravel().tolist(), "patch": patch,
        "pickable": on_pick is not None, "alt": alt,
    }  # fmt: skip
    _picture(key=key, data=data, on_patch_change=on_pick or (lambda: None))


def patch_picker(
    image: Image.Image, grid: tuple[int, int], patch: tuple[int, int], key: str, on_pick: Callable[[], None]
) -> None:
    """Draw a photo as its patches, which come apart, the one under the mouse enlarged, with one picked.

    on_pick runs after a click; st.session_state[key]["patch"] is [row, col] then.
    """
    _picker(key=key, data={"src": png_uri(image), "grid": grid, "patch": patch}, on_patch_change=on_pick)


def patch_painter(
    image: Image.Image,
    grid: tuple[int, int],
    patches: Sequence[tuple[int, int]],
    seq: int,
    key: str,
    on_paint: Callable[[], None],
) -> None:
    """Draw a photo with these patches out; a click or a stroke takes patches out or puts them back, and runs on_paint.

    st.session_state[key]["stroke"] is {"patches": [[row, col], …], "seq"} then. seq: number of the newest stroke that
    patches has; what a person painted since then stays.
    """
    alt = f"The photo as {grid[0]} by {grid[1]} patches; arrow keys move, space takes a patch out."
    data = {"src": png_uri(image), "grid": grid, "patches": patches, "seq": seq, "alt": alt}
    _painter(key=key, data=data, on_stroke_change=on_paint)


def photo_strip(
    photos: Mapping[str, tuple[str, bytes]],
    picked: str,
    key: str,
    on_pick: Callable[[], None],
    side: int = 46,
    faded: Collection[str] = (),
) -> None:
    """Draw thumbnails, {key: (title, JPEG)}, with one picked; side: pixels of one at least; faded: keys of pale ones.

    on_pick runs after a click; st.session_state[key]["picked"] is the photo's key then.
    """
    thumbnails = [
        {"key": name, "title": title, "src": jpeg_uri(jpeg), "faded": name in faded}
        for name, (title, jpeg) in photos.items()
    ]
    # A tuple: to see whether a list is a table, Streamlit would import pandas, a second before the first picture.
    shown = {"photos": tuple(thumbnails), "picked": picked, "side": side}
    _strip(key=key, data=shown, on_picked_change=on_pick)
