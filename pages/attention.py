"""Attention: any layer, any head, asked from any patch, live."""

import streamlit as st

from explorer.attention.recording import Recording
from explorer.rendering.view import View, png, save_npz
from explorer.ui import view_settings as settings
from explorer.ui.attention.tabs import TABS, tabs
from explorer.ui.attention.what_if import check_edits
from explorer.ui.components.live_canvas import has_all_layers, live_canvas, streamed_payload
from explorer.ui.glossary import explain
from explorer.ui.map_picker import WHY, canvas_place, check_map, explanation_place
from explorer.ui.messages import check_link, show_errors
from explorer.ui.sidebar import offer_whole
from explorer.ui.state import current, shown_photo


@st.fragment
def attention(recording: Recording, base: View) -> None:
    """Everything that follows the layer, so that a new layer reruns this and not the sidebar."""
    with show_errors():
        view, shown = canvas(recording, base)
        downloads(recording, shown)
        tabs(recording, view)


def canvas(rec: Recording, base: View) -> tuple[View, View]:
    """The live canvas; returns the attention that it shows, or would show, and what it shows: that, or a rollout."""
    missing = settings.unknown_in_address(rec)
    layer, head = settings.take_layer(rec), settings.take_head(settings.head_options(rec))
    query, complaint = settings.checked_query(rec)
    for sentence in (missing, complaint):
        if sentence:
            st.warning(sentence)
    view = settings.current_view(base, rec, layer, head, query)
    shown = settings.shown_view(view) if has_all_layers(rec) else view
    kept = settings.settings()
    payload = streamed_payload(
        rec, shown, grid_lines=kept["grid"], mosaic=kept["mosaic"], seq=kept["seq"], classes=True
    )
    live_canvas(payload, key=settings.CANVAS, on_change=settings.take_change)
    settings.mirror_in_address(rec)
    return view, shown


def downloads(rec: Recording, shown: View) -> None:
    """What is shown as PNG and NPZ, made only when clicked, and what of the photo isn't shown."""
    name, photo = settings.download_name(rec, shown), shown_photo().image
    png_at, npz_at, rest_at = st.columns([1, 1, 2])
    png_at.download_button(
        "Picture (PNG)", lambda: png(shown, rec, photo=photo), f"{name}.png", "image/png", on_click="ignore",
        width="stretch", help="The map over the photo in its own resolution, every setting inside.",
    )  # fmt: skip
    npz_at.download_button(
        "Maps (NPZ)", lambda: save_npz(shown, rec), f"{name}.npz", "application/octet-stream", on_click="ignore",
        width="stretch", help="The map, all heads, the mask, the image and every setting, for numpy.load.",
    )  # fmt: skip
    with rest_at:
        offer_whole(rec.part)


def check_address(recording: Recording, base: View) -> None:
    """Name each setting of a link that can't be used, those of tabs which aren't open as well."""
    settings.check_layer_and_head(recording, settings.head_options(recording))
    settings.check_query(recording)
    settings.check_look()
    check_link("tab", TABS.__contains__, f"one of {', '.join(TABS)}")
    check_edits(recording)
    check_map(canvas_place(recording, base))
    check_map(explanation_place(recording, base), WHY)


st.title("Where every token looks", anchor=False)
now = current()
explain(settings.heads_and_query(now.recording))
check_address(now.recording, now.view)
attention(now.recording, now.view)
