"""The Artefact tokens tab: norms of all tokens per layer, the outliers marked, and the map without them."""

import numpy as np
import plotly.graph_objects as go
import streamlit as st
from PIL import Image, ImageDraw

from explorer.attention.artefacts import DEVIATIONS, RATIO, outliers, patch_norms
from explorer.attention.recording import Recording
from explorer.rendering.view import View, picture
from explorer.ui.view_settings import change_settings
from explorer.ui.widgets import PLAIN

ZOOM = 3  # times the size that the model saw, of the photo with its outliers
HIDE = "artefacts_hidden"  # key of the toggle, which follows the setting of the canvas


def artefacts_tab(rec: Recording, view: View) -> None:
    """Where the outliers are, what the map above looks like with and without them, and the switch for all maps."""
    st.caption(
        "Some patches have unusually long vectors; in large models these are known to hold no local content and to "
        "draw attention that says nothing of the place (Darcet et al. 2024). Marked: norm above the median by "
        f"{DEVIATIONS:g} robust standard deviations (1.4826 × MAD), and above {RATIO:g} × the median, after the last "
        "block."
    )
    norms = np.stack([patch_norms(rec, layer) for layer in range(rec.depth + 1)])
    mask = outliers(norms[-1])
    st.session_state[HIDE] = view.look.hide_artefacts and bool(mask.any())
    st.toggle("Take them out of every map of this page", key=HIDE, on_change=_take_switch, disabled=not mask.any())
    panels = [(frame_outliers(rec.image, mask, rec.patch_size), _caption(mask))]
    for hide, caption in ((False, "The map above with them"), (True, "The map above without them")):
        panels.append((picture(view.with_look(hide_artefacts=hide), rec, zoom=2), caption))
    for column, (image, caption) in zip(st.columns(3), panels if mask.any() else panels[:1], strict=False):
        column.image(image, caption=caption, width="stretch")
    st.plotly_chart(norms_figure(rec, norms), key="norms", width="stretch", config=PLAIN)


def _take_switch() -> None:
    change_settings(hide_artefacts=st.session_state[HIDE])


def _caption(mask: np.ndarray) -> str:
    count = int(mask.sum())
    return f"Outliers: {count} of {mask.size} patches" if count else "No patch's norm is an outlier"


def frame_outliers(image: Image.Image, mask: np.ndarray, patch_size: int) -> Image.Image:
    """The photo with a frame around every outlier."""
    image = image.resize((image.width * ZOOM, image.height * ZOOM), Image.Resampling.BICUBIC)
    draw, side = ImageDraw.Draw(image), patch_size * ZOOM
    for row, col in np.argwhere(mask):
        box = (col * side, row * side, (col + 1) * side - 1, (row + 1) * side - 1)
        draw.rectangle(box, outline="black", width=5)
        draw.rectangle(box, outline=(255, 140, 40), width=3)
    return image


def norms_figure(rec: Recording, norms: np.ndarray) -> go.Figure:
    """Median, 99th percentile and maximum of the patches' norms by layer, and those of the prefix tokens."""
    flat = norms.reshape(len(norms), -1)
    layers = [*map(str, range(rec.depth)), "end"]
    lines = {"patches, median": np.median(flat, axis=1), "patches, maximum": flat.max(axis=1)}
    for index, name in enumerate(rec.prefix_tokens):
        lines[name] = np.array([rec.token_norms(layer)[index] for layer in range(rec.depth + 1)])
    figure = go.Figure(
        [go.Scatter(x=layers, y=values, name=name, mode="lines+markers") for name, values in lines.items()]
    )
    figure.update_xaxes(title="Entering layer", type="category")
    figure.update_yaxes(title="L2 norm of the token", type="log")
    return figure.update_layout(height=340, margin={"l": 8, "r": 8, "t": 8, "b": 8})
