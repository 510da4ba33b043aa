"""The parts of the Features page: tokens as colours, and likeness to a clicked patch, in two photos."""

from collections.abc import Sequence

import numpy as np
import streamlit as st
from PIL import Image

from explorer.attention.features import Colours, pca_colours, similarity
from explorer.attention.recording import Recording
from explorer.rendering.view import Look, paint
from explorer.ui.address import number, read_patch
from explorer.ui.components.pictures import clickable_picture
from explorer.ui.messages import check_link, check_switch
from explorer.ui.widgets import colour_bar, legend
from explorer.words import percent

RGB = (220, 40, 40), (40, 160, 60), (50, 80, 220)  # what the three components look like where they are high
CUT = -0.3  # a little more foreground than Otsu's threshold gives: heads of people, cheeks of cats
BACKGROUND = 26, 26, 26  # a dark grey
PATCH, PICTURE = "patch", "similarity_picture"
LOOK = Look(opacity=0.75, colormap="viridis", resample="nearest")


def colours(first: Recording, second: Recording) -> None:
    """Both photos, and their tokens' first three principal components as red, green and blue."""
    together, foreground, cut = _settings()
    found = colours_of((first, second), together, foreground, cut)
    columns = st.columns(4)
    for index, (rec, colouring) in enumerate(zip((first, second), found, strict=True)):
        which = ("Photo", "Second photo")[index]
        columns[2 * index].image(rec.image, alt=which, width="stretch")
        columns[2 * index + 1].image(
            colour_picture(colouring, rec.image.size), alt=f"{which}: its patches in colours", width="stretch"
        )
        if not colouring.foreground.any():
            columns[2 * index + 1].caption(
                "Beside the other photo all of this one is background: they share too little."
            )
    _legend(found[0], foreground)
    patches = "foreground patches" if foreground else "patches"
    photos = "both photos" if together else "the first photo"
    drawn = (
        "What is foreground is a guess by the first component of all patches, cut in two; three more colour it, as in "
        "DINOv2 (Oquab et al. 2023)."
        if foreground
        else "The colours are the first three principal components of all patches."
    )
    st.caption(
        f"Alike colours mean alike tokens; a mixed colour is high in two components. {drawn} Each share is of all "
        f"that differs between the {patches} of {photos}."
    )


def _settings() -> tuple[bool, bool, float]:
    """Whether both photos share their colours, whether only the foreground has some, and where it is cut off."""
    check_switch("foreground")
    check_switch("together")
    check_link("cut", lambda text: number(float, -1, 1)(text) is not None, "from -1 to 1")
    together_at, foreground_at, cut_at = st.columns(3)
    together = together_at.toggle("One set of colours for both photos", True, key="together", bind="query-params")
    foreground = foreground_at.toggle("Foreground only", True, key="foreground", bind="query-params")
    cut = cut_at.slider(
        "Foreground: more or less of it", -1.0, 1.0, CUT, 0.05, key="cut", bind="query-params", disabled=not foreground,
        help="Where the line between foreground and background lies. Left: much is foreground. 0: Otsu's threshold.",
    )  # fmt: skip
    return together, foreground, cut


def _legend(colouring: Colours, foreground: bool) -> None:
    names = zip(RGB, colouring.explained, strict=False)
    entries = {f"component {at}: {percent(share, 0)}": colour for at, (colour, share) in enumerate(names, start=1)}
    legend(entries | ({"background": BACKGROUND} if foreground else {}))


def colours_of(recordings: Sequence[Recording], together: bool, foreground: bool, cut: float = 0.0) -> list[Colours]:
    """One PCA for all recordings, or one each."""
    if together:
        return pca_colours(recordings, foreground, cut)
    return [pca_colours([recording], foreground, cut)[0] for recording in recordings]


def colour_picture(colouring: Colours, size: tuple[int, int]) -> Image.Image:
    """The colours at the photo's size, the background dark grey."""
    rgb = np.where(colouring.foreground[..., None], colouring.rgb, np.array(BACKGROUND) / 255)
    return Image.fromarray((rgb * 255).round().astype(np.uint8)).resize(size, Image.Resampling.NEAREST)


def likeness(first: Recording, second: Recording) -> None:
    """Cosine similarity of the clicked patch to all patches of both photos, in one colour scale."""
    patch = _patch(first.grid)
    here, there = similarity(first, patch), similarity(first, patch, second)
    low = float(min(here.min(), there.min()))
    left, right = st.columns(2, gap="medium")
    with left:
        words = f"Likeness to patch {patch} of this photo"
        clickable_picture(paint_similarity(first, here, low), here, PICTURE, words, patch, _keep_patch)
        st.caption(f"Patch {patch} is picked; pick another.")
    with right:
        words = f"Likeness to patch {patch} of the first photo"
        clickable_picture(paint_similarity(second, there, low), there, "similarity_second", words)
        row, col = np.unravel_index(int(there.argmax()), there.shape)
        st.caption(f"Most alike here: patch ({row}, {col}) with a cosine of {there.max():.3f}.")
    colour_bar(LOOK.colormap, f"{low:.2f}".replace("-", "−"), "1: alike")


def paint_similarity(rec: Recording, values: np.ndarray, low: float) -> Image.Image:
    """The similarities over the photo at twice its size, from the lowest of both photos to 1."""
    image = rec.image.resize((rec.image.width * 2, rec.image.height * 2), Image.Resampling.BICUBIC)
    return paint(LOOK, image, values, low, 1.0)


def _patch(grid: tuple[int, int]) -> tuple[int, int]:
    """The patch in the address where this photo has it, else the middle one."""
    read = read_patch(grid)
    check_link(PATCH, lambda text: read(text) is not None, f"row,col of the {grid[0]} rows and {grid[1]} columns")
    patch = read(st.query_params.get(PATCH, ""))
    if patch is None:
        st.query_params.pop(PATCH, None)
    return patch or (grid[0] // 2, grid[1] // 2)


def _keep_patch() -> None:
    row, col = st.session_state[PICTURE]["patch"]
    st.query_params[PATCH] = f"{row},{col}"
