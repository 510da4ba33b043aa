"""The script that Streamlit runs for every visitor and every change: the sidebar, and the page that was asked for."""

import sys
from pathlib import Path

# Streamlit puts this file's folder on the path for as long as it runs: explorer/data would be `import data`.
_HERE = Path(__file__).resolve().parent
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != _HERE]

import streamlit as st  # noqa: E402

from explorer.ui import libraries, visitor  # noqa: E402
from explorer.ui.address import forget_settings  # noqa: E402
from explorer.ui.messages import open_link, show_link, show_messages  # noqa: E402
from explorer.ui.navigation import is_home, pages  # noqa: E402
from explorer.ui.sidebar import sidebar  # noqa: E402
from explorer.ui.widgets import style  # noqa: E402

ICON = _HERE / "ui" / "icon.png"  # a Material icon would be fetched from the network
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
