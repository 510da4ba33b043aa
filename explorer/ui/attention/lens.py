"""The Lens tab: what the classifier would say of every patch after the layer shown, and of the photo layer by layer."""

import numpy as np
import streamlit as st
from PIL import Image

from explorer.attention.lens import Lens
from explorer.attention.recording import Recording
from explorer.rendering.backdrop import backdrop
from explorer.rendering.lens import course_figure, guesses
from explorer.rendering.view import View, paint
from explorer.ui.inside.token import kept_lens
from explorer.ui.map_picker import pick_class
from explorer.ui.messages import plain
from explorer.ui.widgets import PLAIN, colour_bar, legend
from explorer.words import percent

LINES, WIDE = 5, 2


def lens_tab(rec: Recording, view: View) -> None:
    """Two pictures of the layer shown, and a line for each of the likeliest classes."""
    st.caption(
        "The model's own last norm and classifier, applied early (logit lens): what would they say of each "
        "patch alone, or of the photo, after the layer chosen above?"
    )
    if rec.logits is None:
        st.info("This model has no classifier.")
        return
    found = kept_lens(rec, rec.class_index(pick_class(rec)))
    place = view.map["layer"] % rec.depth + 1
    name, layer = plain(rec.model.class_name(found.target)), view.map["layer"] % rec.depth
    left, right = st.columns(2, gap="large")
    with left:
        _followed(rec, view, found, place, f"How likely “{name}” is for each patch after layer {layer}")
    with right:
        _first_guesses(rec, found, place, layer)
    likeliest = np.argsort(-found.image[-1], kind="stable")[:LINES].tolist()
    names = {index: rec.model.class_name(index) for index in dict.fromkeys([*likeliest, found.target])}
    st.markdown("**The whole photo, layer by layer**")
    st.plotly_chart(course_figure(found.image, names, place), key="lens_course", width="stretch", config=PLAIN)


def _followed(rec: Recording, view: View, found: Lens, place: int, words: str) -> None:
    """The probability of the class for each patch, from 0 to the highest of all layers."""
    prefix = len(rec.prefix_tokens)
    high = float(found.followed[:, prefix:].max())
    values = found.followed[place, prefix:].reshape(rec.grid)
    image = backdrop(rec.image, None, rec.part.geometry, None, WIDE)
    st.image(paint(view.look, image, values, 0.0, high), caption=words, alt=words, width="stretch")
    colour_bar(view.look.colormap, "0 %", f"{percent(high)}, the highest of all layers")


def _first_guesses(rec: Recording, found: Lens, place: int, layer: int) -> None:
    prefix = len(rec.prefix_tokens)
    classes, shares = (part[place, prefix:, 0].reshape(rec.grid) for part in (found.classes, found.probabilities))
    drawn = guesses(classes, shares)
    size = (rec.image.width * WIDE, rec.image.height * WIDE)
    words = f"Each patch's first guess after layer {layer}; the stronger the colour, the surer"
    st.image(drawn.picture.resize(size, Image.Resampling.NEAREST), caption=words, alt=words, width="stretch")
    legend(
        {
            "all others" if index is None else rec.model.class_name(index): colour
            for index, colour in drawn.legend.items()
        }
    )
