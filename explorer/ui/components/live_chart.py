"""A Plotly chart that grows in place; st.plotly_chart would make a new one at every change, and lose the zoom."""

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs
from streamlit.components.v2 import component

from explorer.ui.components import asset, script

HEIGHT = 380  # pixels

# 5 MB, so on its own and never changing: Streamlit then sends it to a browser once, and not with every update. It has a
# name of its own: st.plotly_chart loads another Plotly as window.Plotly, which would draw our charts from scratch.
LIBRARY = f"{get_plotlyjs()}\nwindow.livePlotly = window.Plotly;\nexport default () => {{}};"
_library = component("vit_plotly_library", js=LIBRARY)
_chart = component(
    "vit_live_chart",
    html='<div class="live-chart"></div>',
    css=f".live-chart {{ width: 100%; height: {HEIGHT}px; }}",
    js=script(asset("live_chart.js")),
    isolate_styles=False,  # Plotly's own styles lie in the document
)


def load_library() -> None:
    """Send Plotly's script to the browser; call it once on a page with live charts, outside what is redrawn."""
    _library(key="plotly_library")


def live_chart(figure: go.Figure, key: str) -> None:
    """Draw the figure, or bring the one that is there up to date; its layout must keep one uirevision."""
    figure.update_layout(template=go.layout.Template(), height=HEIGHT, autosize=True)
    _chart(key=key, data=figure.to_json())
