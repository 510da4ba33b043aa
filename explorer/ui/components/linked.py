"""Two live canvases side by side: hovering or clicking one asks the same place of the other."""

from collections.abc import Callable

from streamlit.components.v2 import component

from explorer.rendering.payload import canvas_markup, canvas_script
from explorer.ui.components import asset

_html, _css = canvas_markup()
_SIDES = (
    ".pair { display: grid; grid-template-columns: 1fr 1fr; gap: 24px; }"
    ".pair > div { min-width: 0; }"
    ".live { grid-template-columns: minmax(0, 1fr); } .tools, .heads { display: none; }"
)
_linked = component(
    "vit_linked_canvases",
    html=f'<div class="pair"><div data-side="0">{_html}</div><div data-side="1">{_html}</div></div>',
    css=_css + _SIDES,
    js=f"{canvas_script()}\n{asset('linked.js')}",
)


def linked_canvases(first: bytes, second: bytes, key: str, on_change: Callable[[], None]) -> None:
    """Mount them with two payloads of canvas_payload().

    on_change runs after a click or a key; st.session_state[key]["view"] is {"query", "seq"} then, the query in the
    first one's grid.
    """
    _linked(key=key, data=len(first).to_bytes(8, "little") + first + second, on_view_change=on_change)
