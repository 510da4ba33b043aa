"""Two live canvases side by side: hovering or clicking one asks the same place of the other."""

from collections.abc import Callable, Sequence

from streamlit.components.v2 import component

from explorer.ui.components import asset, script
from explorer.web.payload import canvas_markup, canvas_script

_html, _css = canvas_markup()
_SIDES = (
    ".pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(260px, 100%), 1fr)); gap: 20px 32px; }"
    ".pair > div { min-width: 0; } .heading { margin: 0 0 8px; font-family: var(--st-font); font-size: 15px; }"
    ".heading { color: var(--st-text-color); }"
    ".live { grid-template-columns: minmax(0, 1fr); } .tools, .heads { display: none; }"
)
_side = '<div data-side="{side}"><p class="heading" data-heading></p>{html}</div>'
_linked = component(
    "vit_linked_canvases",
    html=f'<div class="pair">{"".join(_side.format(side=side, html=_html) for side in (0, 1))}</div>',
    css=_css + _SIDES,
    js=script(canvas_script(), asset("linked.js")),
)


def linked_canvases(sides: Sequence[tuple[str, bytes]], key: str, on_change: Callable[[], None]) -> None:
    """Mount two, each with a heading and a payload of canvas_payload(); where it is narrow, one below the other.

    on_change runs after a click or a key; st.session_state[key]["view"] is {"query", "seq"} then, the query in the
    first one's grid.
    """
    parts = [part for heading, payload in sides for part in (heading.encode(), payload)]
    _linked(key=key, data=b"".join(len(part).to_bytes(8, "little") + part for part in parts), on_view_change=on_change)
