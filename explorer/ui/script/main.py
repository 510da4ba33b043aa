"""The script that Streamlit runs for every visitor and every change: the sidebar, and the page that was asked for.

It lies in a folder of its own, which Streamlit puts on the path while it runs it: beside explorer/ui/datasets.py, say,
`import datasets` of another library would find that.
"""

from pathlib import Path

import streamlit as st

from explorer.ui import libraries, visitor
from explorer.ui.address import forget_settings
from explorer.ui.messages import open_link, show_link, show_messages
from explorer.ui.navigation import is_home, pages
from explorer.ui.sidebar import sidebar
from explorer.ui.widgets import style

ICON = Path(__file__).parents[1] / "icon.png"  # a Material icon would be fetched from the network
st.set_page_config(page_title="Vision Transformer explorer", page_icon=str(ICON), layout="wide")
style()
page = st.navigation(pages(), position="top")
visitor.enter()
open_link(page.url_path)
forget_settings()
if not is_home(page):
    libraries.show_wait()  # what the pages' modules import
sidebar(wait=not is_home(page))
with st.sidebar:
    visitor.panel()
place = show_messages()
page.run()
show_link(place)
