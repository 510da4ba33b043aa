"""The live canvas: a Streamlit component that computes and draws attention in the browser, under the mouse."""

from collections.abc import Callable
from typing import Any

from streamlit.components.v2 import component

from explorer.ui.components import asset, script
from explorer.web.payload import canvas_markup, canvas_script

_html, _css = canvas_markup()
_component = component("vit_live_canvas", html=_html, css=_css, js=script(canvas_script(), asset("live_canvas.js")))


def live_canvas(payload: bytes, key: str, on_change: Callable[[], None]) -> dict[str, Any] | None:
    """Mount the canvas with bytes of canvas_payload(); returns what a person changed last, or None.

    The answer is {"query", "head", "look", "seq"}; query is a name or [row, col]. on_change runs before the next rerun.
    """
    return _component(key=key, data=payload, on_view_change=on_change).get("view")
