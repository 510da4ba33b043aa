"""The live canvas alone, without its tools: a photo with its attention on it that follows the mouse."""

from typing import Any

import streamlit as st
from streamlit.components.v2 import component

from explorer.ui.components import asset, script
from explorer.ui.state import Current
from explorer.web.payload import canvas_markup, canvas_payload, canvas_script

KEY = "hero"
_PIN = "hero_pin"  # what a click pinned: {"photo", "query", "seq"}
_html, _css = canvas_markup()
_ALONE = ".live { grid-template-columns: minmax(0, 1fr); } .tools, .heads { display: none; }"
_component = component("vit_hero", html=_html, css=_css + _ALONE, js=script(canvas_script(), asset("live_canvas.js")))


def hero(now: Current, layer: int) -> None:
    """The photo with the head-mean attention of one layer; hovering asks any patch, a click pins it."""
    shown = _pinned_for(now)
    pin: dict[str, Any] = st.session_state.get(_PIN, {})
    view = now.view.with_map(layer=layer, query=pin.get("query") if pin.get("photo") == shown else None)

    def keep_pin() -> None:
        change = st.session_state[KEY].get("view") or {}
        query = change.get("query")
        query = tuple(query) if isinstance(query, list) else query
        st.session_state[_PIN] = {"photo": shown, "query": query, "seq": change.get("seq", 0)}

    _component(key=KEY, data=canvas_payload(now.recording, view, seq=pin.get("seq", 0)), on_view_change=keep_pin)


def _pinned_for(now: Current) -> tuple:
    """What a pin belongs to: another photo, size or model starts anew."""
    return now.photo.key, now.model.source, now.size, now.fit
