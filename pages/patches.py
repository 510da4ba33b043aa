"""Patches: from a photo to the tokens that enter a Vision Transformer's first layer, step by step."""

import streamlit as st

from explorer.models.tokens import make_tokens
from explorer.ui.components.patch_picker import patch_picker
from explorer.ui.messages import plain, show_errors
from explorer.ui.navigation import page_named
from explorer.ui.patch_steps import show_positions, show_prefix, show_vectors, size, step
from explorer.ui.state import Current, current

PICKER, PATCH = "patch_picker", "patch"  # the component's key; the setting in the address, "row,col"
WHY_PATCHES = "A Transformer reads a list, as of words; so the photo is cut into squares, and each becomes one word."
WHY_VECTORS = "One learnt linear map, the same for every patch, turns its pixels into a vector that layers can compare."
WHY_POSITIONS = "Attention sees a set without order: something must tell it where in the photo each patch lies."
NO_PREFIX = "This model has none: what it says of the whole photo, it reads from the patches themselves."
ONE_PREFIX = (
    "cls belongs to no patch and starts the same for every photo; layer by layer it collects what the photo says."
)
MORE_PREFIX = "They belong to no patch and start the same for every photo: cls collects what it says, the others help."


def picked_patch(grid: tuple[int, int]) -> tuple[int, int]:
    """The patch that the address names, or the middle one, with a sentence where the address names none of the grid."""
    text = st.query_params.get(PATCH)
    middle = (grid[0] // 2, grid[1] // 2)
    if text is None:
        return middle
    row, _, col = text.partition(",")
    if row.isdecimal() and col.isdecimal() and int(row) < grid[0] and int(col) < grid[1]:
        return int(row), int(col)
    del st.query_params[PATCH]
    st.warning(
        f"Patch {plain(text)} isn't one of this photo's {grid[0]} rows and {grid[1]} columns, counted from 0: "
        f"patch {middle} is shown instead.",
        icon=":material/link_off:",
    )
    return middle


def keep_patch() -> None:
    """Callback of the picker: the address carries the patch."""
    row, col = st.session_state[PICKER]["patch"]
    st.query_params[PATCH] = f"{row},{col}"


def why_prefix(count: int) -> str:
    """What the tokens before the patches are for."""
    return NO_PREFIX if not count else ONE_PREFIX if count == 1 else MORE_PREFIX


@st.fragment
def show_steps(now: Current) -> None:
    """All steps; a fragment, so that a click redraws them and not the sidebar."""
    model, image, grid = now.model, now.recording.image, now.recording.grid
    patch = picked_patch(grid)
    tokens = make_tokens(model, image)
    side, count, prefix = model.patch_size, grid[0] * grid[1], len(model.prefix_tokens)

    shape = f"{size(image.height, image.width, 3)} → {size(count, side, side, 3)}"
    with step(1, "The photo falls into patches", shape, WHY_PATCHES):
        patch_picker(image, grid, patch, PICKER, keep_patch)

    shape = f"{size(count, side * side * 3)} → {size(count, model.width)}"
    with step(2, "Every patch becomes a vector", shape, WHY_VECTORS):
        show_vectors(now, tokens, patch)

    shape = f"{size(count, model.width)} → {size(prefix + count, model.width)}"
    with step(3, "Prefix tokens go first", shape, why_prefix(prefix)):
        show_prefix(tokens, patch)

    title = "Positions are added" if tokens.positions is not None else "Positions come later"
    with step(4, title, size(prefix + count, model.width), WHY_POSITIONS):
        show_positions(tokens, model, patch)
    st.markdown(f"**{prefix + count:,} tokens** of {model.width:,} numbers enter layer 0.")


st.title("How a photo becomes tokens", anchor=False)
st.markdown("Click a patch: every step below follows it down to the token that enters the first layer.")
now = current()
with show_errors():
    show_steps(now)
st.page_link(page_named("attention"), label="See where they look", icon=":material/arrow_forward:")
