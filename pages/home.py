"""Home: a photo with its attention on it, what the model is, and where to go next."""

import streamlit as st

from explorer.models import registry
from explorer.models.backbone import Model
from explorer.ui.components.hero import hero
from explorer.ui.messages import plain
from explorer.ui.navigation import entries, page
from explorer.ui.state import Current, current
from explorer.ui.view_settings import default_layer
from explorer.ui.widgets import facts, hint

CARDS = 4  # per row
NUMBERED = 3  # the first pages, in the order that explains one thing after the other


def show_facts(now: Current) -> None:
    """What the model is, in numbers and one line on its weights."""
    model, (rows, cols) = now.model, now.recording.grid
    st.header(model.name, anchor=False)
    facts(
        {
            "Patch": f"{model.patch_size} px",
            "Grid": f"{rows} × {cols}",
            "Tokens": f"{len(model.prefix_tokens) + rows * cols:,}",
            "Layers": str(model.depth),
            "Heads per layer": str(model.num_heads),
            "Parameters": f"{model.num_parameters / 1e6:.1f} M",
        }
    )
    st.markdown(f"**Tokens** {tokens_in_words(model, rows, cols)}  \n**Weights** {plain(origin(model.source.source))}")
    if model.notes:
        st.markdown("\n".join(["**Worth knowing**", "", *(f"- {plain(note)}" for note in model.notes)]))


def tokens_in_words(model: Model, rows: int, cols: int) -> str:
    """ "cls + 14 × 14 patches"."""
    return " + ".join([*model.prefix_tokens, f"{rows} × {cols} patches"])


def origin(source: str) -> str:
    """Where the weights came from."""
    entry = registry.find(source)
    if entry is None:
        gone = source.startswith("checkpoints/")
        return f"{source}, which is no longer there" if gone else f"{source}, an id typed in"
    place = entry.source if entry.repo_id else f"checkpoints/{entry.key.removeprefix('checkpoints/')}"
    return f"{place}: {entry.about}" + (f" ({entry.licence})" if entry.licence else "")


def first_picture(now: Current, layer: int) -> str:
    """What the picture shows before anyone points at it, for someone who never met a cls token."""
    query = now.recording.default_query
    looks = (
        "Bright: the patches that all patches look at on average."
        if query == "mean"
        else f"The model keeps one extra token, **{query}**, that sums up the photo. Bright: the patches it draws on."
    )
    heads = f"all {now.model.num_heads} heads averaged" if now.model.num_heads > 1 else "its only head"
    return f"{looks} The ring marks the brightest. (Layer {layer} of 0 to {now.model.depth - 1}, {heads}.)"


def show_pages() -> None:
    """A card for each other page."""
    others = [entry for entry in entries() if entry.name != "home"]
    for start in range(0, len(others), CARDS):
        row = enumerate(others[start : start + CARDS], start=start + 1)
        for place, (number, entry) in zip(st.columns(CARDS), row, strict=False):
            with place.container(border=True, height="stretch", key=f"card_{entry.name}"):
                title = f"{number} · {entry.title}" if number <= NUMBERED else entry.title
                st.page_link(page(entry), label=f"**{title}**", icon=entry.icon)
                st.caption(entry.purpose)


now = current()
st.title("See where a Vision Transformer looks", anchor=False)
st.markdown(
    "A Vision Transformer cuts the photo into squares, called **patches**. Point at one: bright patches are the ones "
    "it looks at. Then drop a photo of your own into the sidebar."
)
picture, beside = st.columns([3, 2], gap="large")
with picture:
    layer = default_layer(now.recording)
    hero(now, layer)
with beside:
    st.header("What you see", anchor=False)
    st.markdown(first_picture(now, layer))
    hint("Click a patch to keep it, Esc lets go.", "Tap a patch to keep it, tap it again to let go.", key="hero")
    show_facts(now)
st.header("Where next", anchor=False)
show_pages()
