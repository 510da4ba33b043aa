"""The live canvas with few tools: a photo with its attention on it that follows the mouse, layer and head below it."""

from collections.abc import Callable

from streamlit.components.v2 import component

from explorer.ui.components import asset, script
from explorer.web.payload import canvas_markup, canvas_script

KEY = "hero"
_html, _css = canvas_markup()
# Below the picture only what chooses layer and head; words beside it say what it shows.
_FEW_TOOLS = (
    ".live { --stacked: 1; } .live :is(.query, .shows, .look, .more, .readout) { display: none; } "
    ".live.fixed .tools { display: none; }"
)
_component = component(
    "vit_hero", html=_html, css=_css + _FEW_TOOLS,
    js=script(canvas_script(), asset("store.js"), asset("last_drawn.js"), asset("live_canvas.js")),
)  # fmt: skip


def hero(payload: bytes, on_change: Callable[[], None]) -> None:
    """Mount it with bytes of canvas_payload(); hovering asks any patch, a click pins it and calls on_change.

    Layer and head can be chosen where the payload has steps.

    st.session_state[KEY]["view"] is what a person changed then, as for live_canvas().
    """
    _component(key=KEY, data=payload, on_view_change=on_change)
