"""Patches: from a photo to the tokens that enter a Vision Transformer's first layer, step by step."""

import streamlit as st

from explorer.models.tokens import make_tokens
from explorer.ui.address import read_patch
from explorer.ui.components.pictures import patch_picker
from explorer.ui.glossary import explain
from explorer.ui.messages import check_link, link_is_new, plain, show_errors
from explorer.ui.navigation import page_named
from explorer.ui.patches.steps import show_positions, show_prefix, show_vectors, step, why_positions, why_prefix
from explorer.ui.state import Current, current
from explorer.ui.view_settings import change_settings

PICKER, PATCH = "patch_picker", "patch"  # the component's key; the setting in the address, "row,col"


def picked_patch(grid: tuple[int, int]) -> tuple[int, int]:
    """The patch that the address names, or the middle one, with a sentence where the address names none of the grid."""
    text, read = st.query_params.get(PATCH), read_patch(grid)
    middle = (grid[0] // 2, grid[1] // 2)
    rows = f"{grid[0]} rows and {grid[1]} columns, counted from 0"
    check_link(PATCH, lambda text: read(text) is not None, f"row,col of the {rows}")
    patch = middle if text is None else read(text)
    if patch is not None:
        return patch
    del st.query_params[PATCH]
    if not link_is_new():
        st.warning(f"Patch {plain(str(text))} isn't one of this photo's {rows}: patch {middle} is shown instead.")
    return middle


def keep_patch() -> None:
    """Callback of the picker: the address carries the patch."""
    row, col = st.session_state[PICKER]["patch"]
    st.query_params[PATCH] = f"{row},{col}"


@st.fragment
def show_steps(now: Current) -> None:
    """All steps; a fragment, so that a click redraws them and not the sidebar."""
    model, image, grid = now.model, now.recording.image, now.recording.grid
    patch = picked_patch(grid)
    tokens = make_tokens(model, image)
    side, count = model.patch_size, grid[0] * grid[1]
    pixels = side * side * 3
    total = len(model.prefix_tokens) + count
    square = {"height": side, "width": side, "colours": 3}

    why = (
        "A Transformer reads a list, such as the words of a sentence; so the photo is cut into squares of "
        f"{side} × {side} pixels."
    )
    shape = {"height": image.height, "width": image.width, "colours": 3}, {"patches": count, **square}
    with step(1, "The photo is cut into patches", shape, why):
        patch_picker(image, grid, patch, PICKER, keep_patch)

    why = (
        f"One learnt linear projection, the same for every patch, turns its {pixels:,} pixel values into "
        f"{model.width:,} numbers that the layers can compare."
    )
    shape = {"patches": count, "pixel values": pixels}, {"patches": count, "numbers": model.width}
    with step(2, "Every patch becomes a vector", shape, why):
        show_vectors(now, tokens, patch)

    title = "Prefix tokens go first" if model.prefix_tokens else "No token goes before them"
    shape = {"patches": count, "numbers": model.width}, {"tokens": total, "numbers": model.width}
    with step(3, title, shape, why_prefix(model.prefix_tokens)):
        show_prefix(tokens, patch)

    title = "Positions are added" if tokens.positions is not None else "Positions come later"
    with step(4, title, ({"tokens": total, "numbers": model.width},), why_positions(tokens)):
        show_positions(tokens, model, patch)
    st.markdown(
        f"**{total:,} tokens** of {model.width:,} numbers enter layer 0. From there on, every token looks at all the "
        "others and takes in what it needs: that is attention."
    )


def follow(page: str) -> None:
    """Go to another page; a patch that was picked is its query."""
    if patch := st.query_params.get(PATCH):
        change_settings(query=patch)
    # Without query_params Streamlit would refuse, since it may not clear those that are bound to widgets.
    st.switch_page(page_named(page), query_params={})


st.title("How a photo becomes tokens", anchor=False)
explain(
    "A Vision Transformer never gets the photo itself, only a list of vectors, its [[tokens|token]]. Click a [[patch]] "
    "and follow it, from its pixels to the token that enters the first [[layer]]."
)
now = current()
with show_errors():
    show_steps(now)
with st.container(horizontal=True):
    if st.button("Follow it through a layer", type="tertiary", icon=":material/arrow_forward:"):
        follow("inside")
    if st.button("See where they look", type="tertiary", icon=":material/arrow_forward:"):
        follow("attention")
