"""The live part of the Attention page: sliders, canvas, classes and downloads of what is shown."""

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from explorer.attention.recording import Recording
from explorer.rendering.view import View, png, save_npz
from explorer.ui import view_settings as settings
from explorer.ui.components.live_canvas import live_canvas
from explorer.ui.state import shown_photo
from explorer.web.payload import canvas_payload

SHOWN_CLASSES = 5


def layer_and_head(rec: Recording) -> tuple[int, str]:
    """The two sliders; a link that asks for more than the model has gets a sentence and the default."""
    complaint = settings.unknown_in_address(rec)
    if complaint:
        st.warning(complaint)
    layer_at, head_at = st.columns([3, 2], gap="large")
    layer = layer_at.slider(
        "Layer", 0, rec.depth - 1, settings.default_layer(rec), key="layer", bind="query-params",
        help="0 is the first block after the patches, the highest number the last.",
    )  # fmt: skip
    head = head_at.select_slider(
        "Head", settings.head_options(rec), "mean", key="head", bind="query-params",
        help="One head by its number, or all heads of the layer together: their mean, max or min.",
    )  # fmt: skip
    return layer, str(head)


def canvas(rec: Recording, base: View, layer: int, head: str) -> View:
    """The live canvas; returns the view that it shows."""
    query, complaint = settings.checked_query(rec)
    if complaint:
        st.warning(complaint)
    view = settings.current_view(base, rec, layer, head, query)
    kept = settings.settings()
    payload = canvas_payload(rec, view, grid_lines=kept["grid"], seq=kept["seq"])
    live_canvas(payload, key=settings.CANVAS, on_change=settings.take_change)
    settings.mirror_in_address()
    return view


def classes_and_downloads(rec: Recording, view: View) -> None:
    """Under the canvas: the top classes where the model classifies, and the downloads."""
    if rec.probabilities is None:
        downloads(rec, view, *st.columns(2))
        return
    classes_at, downloads_at = st.columns([3, 2], gap="large")
    with classes_at:
        top_classes(rec, rec.probabilities)
    downloads(rec, view, downloads_at, downloads_at)


def top_classes(rec: Recording, probabilities: np.ndarray) -> None:
    """The five likeliest classes as bars, of a multi-label model each by itself; of a regression its numbers."""
    top = probabilities.argsort()[::-1][:SHOWN_CLASSES]
    if rec.model.outputs == "number":
        names = [rec.model.class_name(index) if len(probabilities) > 1 else "Predicted number" for index in top]
        st.dataframe({"Output": names, "Value": probabilities[top]}, hide_index=True, width="stretch")
        return
    bars = st.column_config.ProgressColumn("Probability", format="%.1f %%", min_value=0, max_value=100)
    table = {"Class": [rec.model.class_name(index) for index in top], "Probability": 100 * probabilities[top]}
    st.dataframe(table, column_config={"Probability": bars}, hide_index=True, width="stretch")


def downloads(rec: Recording, view: View, png_at: DeltaGenerator, npz_at: DeltaGenerator) -> None:
    """What is shown as PNG and NPZ, each in its place; made only when clicked."""
    name, photo = settings.download_name(rec, view), shown_photo().image
    png_at.download_button(
        "Picture (PNG)", lambda: png(view, rec, photo=photo), f"{name}.png", "image/png", on_click="ignore",
        width="stretch", help="The map over the photo in its own resolution, every setting inside.",
    )  # fmt: skip
    npz_at.download_button(
        "Maps (NPZ)", lambda: save_npz(view, rec), f"{name}.npz", "application/octet-stream", on_click="ignore",
        width="stretch", help="The map, all heads, the mask, the image and every setting, for numpy.load.",
    )  # fmt: skip
