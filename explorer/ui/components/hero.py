"""The live canvas alone, without its tools: a photo with its attention on it that follows the mouse."""

from collections.abc import Callable

from streamlit.components.v2 import component

from explorer.ui.components import asset, script
from explorer.web.payload import canvas_markup, canvas_script

KEY = "hero"
_html, _css = canvas_markup()
_ALONE = ".live { grid-template-columns: minmax(0, 1fr); } .tools, .heads, .readout { display: none; }"
_component = component(
    "vit_hero", html=_html, css=_css + _ALONE,
    js=script(canvas_script(), asset("last_drawn.js"), asset("live_canvas.js")),
)  # fmt: skip


def hero(payload: bytes, on_change: Callable[[], None]) -> None:
    """Mount it with bytes of canvas_payload(); hovering asks any patch, a click pins it and calls on_change.

    st.session_state[KEY]["view"] is what a person changed then, as live_canvas() returns it.
    """
    _component(key=KEY, data=payload, on_view_change=on_change)
