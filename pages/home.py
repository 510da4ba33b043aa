"""Home: a photo with its attention on it, what the model is, and where to go next."""

import streamlit as st

from explorer.models import registry
from explorer.models.backbone import Model
from explorer.ui.attention_settings import default_layer
from explorer.ui.components.hero import hero
from explorer.ui.messages import plain
from explorer.ui.navigation import entries, page
from explorer.ui.state import Current, current
from explorer.ui.widgets import facts

CARDS = 4  # a row


def show_facts(now: Current) -> None:
    """What the model is, in numbers and one line on its weights."""
    model, (rows, cols) = now.model, now.recording.grid
    st.subheader(model.name, anchor=False)
    facts(
        {
            "Patch": f"{model.patch_size} px",
            "Grid": f"{rows} × {cols}",
            "Tokens": f"{len(model.prefix_tokens) + rows * cols:,}",
            "Layers": str(model.depth),
            "Heads a layer": str(model.num_heads),
            "Parameters": f"{model.num_parameters / 1e6:.1f} M",
        }
    )
    st.markdown(f"**Tokens** {tokens_in_words(model, rows, cols)}  \n**Weights** {plain(origin(now.source))}")
    for note in model.notes:
        st.info(plain(note), icon=":material/info:")


def tokens_in_words(model: Model, rows: int, cols: int) -> str:
    """ "cls + 14 × 14 patches"."""
    return " + ".join([*model.prefix_tokens, f"{rows} × {cols} patches"])


def origin(source: str) -> str:
    """Where the weights came from."""
    entry = registry.find(source)
    if entry is None:
        return f"{source}, a model typed in"
    place = entry.source if entry.repo_id else f"checkpoints/{entry.key.removeprefix('checkpoints/')}"
    return f"{place}: {entry.about}" + (f" ({entry.licence})" if entry.licence else "")


def show_pages() -> None:
    """A card for each other page."""
    others = [entry for entry in entries() if entry.name != "home"]
    for start in range(0, len(others), CARDS):
        for place, entry in zip(st.columns(CARDS), others[start : start + CARDS], strict=False):
            with place.container(border=True, height="stretch"):
                st.page_link(page(entry), label=f"**{entry.title}**", icon=entry.icon)
                st.caption(entry.purpose)


now = current()
st.title("See where a Vision Transformer looks", anchor=False)
st.markdown(
    "Move over the photo: the map shows **where that patch looks**. Then drop in a photo of your own, on the left."
)
picture, beside = st.columns([3, 2], gap="large")
with picture:
    hero(now, default_layer(now.recording))
with beside:
    show_facts(now)
st.subheader("Go on", anchor=False)
show_pages()
