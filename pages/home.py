"""Home: a photo with its attention on it, what the model is, and where to go next."""

import streamlit as st

from explorer.models import registry
from explorer.models.facts import ModelFacts
from explorer.ui.components.live_canvas import words
from explorer.ui.glossary import explain
from explorer.ui.home import picture
from explorer.ui.messages import plain
from explorer.ui.navigation import Entry, entries, page
from explorer.ui.widgets import facts, hint
from explorer.web.welcome import INTRO, TITLE

CARDS = 3  # per row, as many as there are steps
# The first pages in the order that explains one thing after the other: what each answers.
STEPS = (("patches", "What the model gets"), ("attention", "Where it looks"), ("features", "What it makes of it"))


def show_facts(model: ModelFacts, grid: tuple[int, int]) -> None:
    """What the model is, in numbers and one line on its weights."""
    rows, cols = grid
    st.header(plain(model.name), anchor=False)
    facts(
        {
            "Patch": f"{model.patch_size} px",
            "Grid": f"{rows} × {cols}",
            "Tokens": f"{len(model.prefix_tokens) + rows * cols:,}",
            "Layers": str(model.depth),
            "Heads per layer": str(model.num_heads),
            "Parameters": f"{model.parameters / 1e6:.1f} M",
        }
    )
    tokens = " + ".join([*model.prefix_tokens, f"{rows} × {cols} patches"])
    st.markdown(f"**Tokens** {tokens}  \n**Weights** {plain(origin(model.source.source))}")
    if model.notes:
        st.markdown("\n".join(["**Worth knowing**", "", *(f"- {plain(note)}" for note in model.notes)]))


def origin(source: str) -> str:
    """Where the weights came from."""
    entry = registry.find(source)
    if entry is None:
        gone = source.startswith("checkpoints/")
        return f"{source}, which is no longer there" if gone else f"{source}, an id typed in"
    place = entry.source if entry.repo_id else f"checkpoints/{entry.key.removeprefix('checkpoints/')}"
    return f"{place}: {entry.about}" + (f" ({entry.licence})" if entry.licence else "")


def show_steps() -> None:
    """A card for each page that explains, numbered."""
    named = {entry.name: entry for entry in entries()}
    for number, (place, (name, answer)) in enumerate(zip(st.columns(len(STEPS)), STEPS, strict=True), start=1):
        with place:
            card(named[name], f"{number} · {answer}", f"**{named[name].title}.** {named[name].purpose}")


def show_others() -> None:
    """A card for each other page."""
    shown = {"home", *(name for name, _ in STEPS)}
    others = [entry for entry in entries() if entry.name not in shown]
    for start in range(0, len(others), CARDS):
        for place, entry in zip(st.columns(CARDS), others[start : start + CARDS], strict=False):
            with place:
                card(entry, entry.title, entry.purpose)


def card(entry: Entry, title: str, text: str) -> None:
    """A page's card, all of which is its link."""
    with st.container(border=True, height="stretch", key=f"card_{entry.name}"):
        st.page_link(page(entry), label=f"**{title}**", icon=entry.icon)
        st.caption(text)


now = picture.shown()
st.title(TITLE, anchor=False)
explain(INTRO)
left, right = st.columns([3, 2], gap="large")
with left:
    picture.draw(now)
with right:
    st.header("What you see", anchor=False)
    words(now.grid, now.facts.depth)
    hint("Click a patch to keep it, Esc lets go.", "Tap a patch to keep it, tap it again to let go.", key="hero")
    show_facts(now.facts, now.grid)
st.header("Where next", anchor=False)
show_steps()
show_others()
