"""The steps of the Patches page: from the photo to the tokens that enter layer 0, each with its shape and reason."""

from collections.abc import Iterator
from contextlib import contextmanager
from html import escape

import numpy as np
import streamlit as st
from PIL import Image

from explorer.errors import ModelError
from explorer.models.backbone import Model
from explorer.models.tokens import Tokens, filters, position_kinds
from explorer.rendering.patches import filter_sheet, marked_map, token_lines, vector_strip
from explorer.ui import cached
from explorer.ui.messages import plain
from explorer.ui.state import Current

SHAPE = (
    "font-family:var(--st-code-font,monospace);font-weight:600;color:var(--st-primary-color);margin:0 .9rem 0 0;"
    "white-space:nowrap"
)
INSTEAD = {
    "rotary": "in every layer it turns q and k by angles that stand for a patch's row and column (rotary positions)",
    "relative": "in every layer it adds a number to each score that depends on how far apart two patches lie",
}


@contextmanager
def step(number: int, title: str, shape: str, why: str) -> Iterator[None]:
    """A step's heading, its shape and one sentence on why; below them what the block draws."""
    with st.container(key=f"step_{number}"):
        st.subheader(f"{number} · {title}", anchor=False, divider="gray")
        chip = f'<span style="{SHAPE}">{escape(shape)}</span>'
        st.html(f'<p style="margin:0 0 .4rem;max-width:60rem">{chip}{escape(why)}</p>')
        yield


def size(*sides: int) -> str:
    """ "196 × 768"."""
    return " × ".join(f"{side:,}" for side in sides)


def show_vectors(now: Current, tokens: Tokens, patch: tuple[int, int]) -> None:
    """The projection's filters, how long every patch's vector is, and the picked patch's vector."""
    left, right = st.columns([3, 2], gap="large")
    with left:
        _show_filters(now)
    with right:
        _picture(marked_map(tokens.norms, patch), "Length of every patch's vector: dark is short, bright is long.")
    _picture(
        vector_strip(tokens.vectors[tokens.index(patch)], _limit(tokens)),
        f"Patch {patch} as {now.model.width:,} numbers: teal is below zero, orange above.",
    )


def _show_filters(now: Current) -> None:
    try:
        sheet = _sheet((now.source, now.arch, now.num_heads, cached.stamp(now.source)), now.model)
    except ModelError as error:
        st.info(plain(str(error)))
        return
    _picture(sheet, "What the map looks for in a patch: its main filters, strongest first (principal components).")


@st.cache_resource(max_entries=4, show_spinner=False)
def _sheet(key: tuple, _model: Model) -> Image.Image:
    return filter_sheet(filters(_model))


def show_prefix(tokens: Tokens, patch: tuple[int, int]) -> None:
    """All tokens as lines, the prefix tokens first."""
    count = len(tokens.prefix_tokens)
    lines = np.concatenate([tokens.entering[:count], tokens.vectors])
    names = ", ".join(tokens.prefix_tokens)
    _picture(
        token_lines(lines, count, _limit(tokens), count + tokens.index(patch)),
        f"Every line is a token: first {names}, then the patches row by row; patch {patch} is marked at the side.",
    )


def show_positions(tokens: Tokens, model: Model, patch: tuple[int, int]) -> None:
    """The picked patch's vector, its position and their sum; and which places have similar positions."""
    similarity = tokens.position_similarity(patch)
    kinds = position_kinds(model)
    if tokens.positions is None or similarity is None:
        instead = " and ".join(INSTEAD[kind] for kind in kinds) or "nothing in it tells where a patch lies"
        st.info(f"This model adds no position embeddings, so there are none to show: {instead}.")
        return
    index, limit = tokens.index(patch), _limit(tokens)
    left, right = st.columns([3, 2], gap="large")
    with left:
        _picture(vector_strip(tokens.vectors[index], limit), f"The vector of patch {patch} …")
        _picture(vector_strip(tokens.positions[index], limit), "… plus the position embedding of its place …")
        _picture(vector_strip(tokens.vectors[index] + tokens.positions[index], limit), "… is the token of this patch.")
        for kind in kinds:
            st.caption(f"Besides, {INSTEAD[kind]}.")
    with right:
        _picture(
            marked_map(similarity, patch),
            f"Cosine similarity of the position of patch {patch} to every other, from {similarity.min():.2f} to 1: "
            "near places are alike, and often the whole row and column.",
        )


def _limit(tokens: Tokens) -> float:
    """One colour scale for all vectors of the page."""
    return float(np.percentile(np.abs(tokens.vectors), 99))


def _picture(picture: Image.Image, caption: str) -> None:
    st.image(picture, caption=caption, width="stretch", output_format="PNG")
