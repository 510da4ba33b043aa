"""The Share tab: the view as files that leave the app, made only when clicked."""

import streamlit as st

from explorer.attention.recording import Recording
from explorer.rendering.figures import figure
from explorer.rendering.gif import layers_gif
from explorer.rendering.html import live_page
from explorer.rendering.script import python_script
from explorer.rendering.view import View, png, save_npz


def share_tab(rec: Recording, view: View) -> None:
    """Every form of the view above; the page's address restores it too."""
    name = f"{rec.model_name}-layer{view.layer}-{view.head}".replace("/", "-")
    st.caption("The address of this page brings this view back. To take it elsewhere:")
    files = (
        ("Figure (SVG)", "svg", "image/svg+xml", lambda: figure(view, rec).svg(), "All heads of the layer, labelled."),
        (
            "Figure (PDF)",
            "pdf",
            "application/pdf",
            lambda: figure(view, rec).pdf(),
            "The same, with its font embedded.",
        ),
        (
            "Every layer × head (PDF)",
            "all.pdf",
            "application/pdf",
            lambda: figure(view, rec, "layers").pdf(),
            "One page.",
        ),
        (
            "Through the layers (GIF)",
            "gif",
            "image/gif",
            lambda: layers_gif(view, rec),
            "This head, layer after layer.",
        ),
        ("Live page (HTML)", "html", "text/html", lambda: live_page(view, rec), "One file; hovering works offline."),
        ("Picture (PNG)", "png", "image/png", lambda: png(view, rec, zoom=4), "Four times the model's input size."),
        ("Maps (NPZ)", "npz", "application/octet-stream", lambda: save_npz(view, rec), "Map, heads, mask, settings."),
    )
    columns = st.columns(4)
    for index, (label, ending, kind, make, about) in enumerate(files):
        columns[index % 4].download_button(
            label, make, f"{name}.{ending}", kind, on_click="ignore", width="stretch", help=about, key=f"share_{ending}"
        )
    st.markdown("**This view as Python**: the script writes the same maps (NPZ), and the picture as the model saw it.")
    st.code(python_script(view), language="python")
    if not view.image.startswith("sample:"):
        st.caption(f"Put {view.image} beside the script, or change the path in it.")
