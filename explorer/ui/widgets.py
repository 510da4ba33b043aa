"""Small pieces that several pages show: a list of facts, the app's own style."""

from collections.abc import Mapping
from html import escape

import streamlit as st

from explorer.ui.components import asset

PLAIN = {"displayModeBar": False}  # a Plotly chart without its toolbar
_FACTS = (
    "display:grid;grid-template-columns:repeat(auto-fill,minmax(88px,1fr));gap:18px 16px;margin:0 0 4px;padding:0;"
    "font-variant-numeric:tabular-nums"
)


def style() -> None:
    """The few rules that the theme has no option for; called once a run."""
    st.html(f"<style>{asset('app.css')}</style>")


def script() -> None:
    """Have Back lead to the page before; drawn last in the sidebar, where the empty element takes no room."""
    st.html(f"<script>{asset('history.js')}</script>", unsafe_allow_javascript=True)


def facts(items: Mapping[str, str]) -> None:
    """Labels and short values side by side, as many in a row as fit."""
    cells = "".join(
        f'<div><dt style="font-size:.85rem;opacity:.75">{escape(label)}</dt>'
        f'<dd style="margin:0;font-size:1.45rem;line-height:1.3">{escape(value)}</dd></div>'
        for label, value in items.items()
    )
    st.html(f'<dl style="{_FACTS}">{cells}</dl>')
