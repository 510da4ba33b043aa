"""The steps of the Patches page: from the photo to the tokens that enter layer 0, each with its shape and reason."""

from collections.abc import Iterator, Mapping, Sequence
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
from explorer.words import list_in_words

Shape = Mapping[str, int]  # what each axis counts, and how many
ROLES = {  # of prefix tokens, by the first letters of their names
    "cls": "cls (class token) gathers what the whole photo shows",
    "dist": "dist does the same with a teacher's help",
    "reg": "registers (reg1 …) give the layers a place for notes of their own",
}
INSTEAD = {
    "rotary": "in every layer it turns q and k by angles that stand for a patch's row and column (rotary positions)",
    "relative": "in every layer it adds a number to each score that depends on how far apart two patches lie",
}


@contextmanager
def step(number: int, title: str, shapes: Sequence[Shape], why: str) -> Iterator[None]:
    """A step's heading, one sentence on why, and its shapes before and after; below them what the block draws."""
    with st.container(key=f"step_{number}"):
        st.header(f"{number} · {title}", anchor=False, divider="gray")
        arrow = '<span class="arrow">→</span>'
        st.html(f'<p class="why">{escape(why)}</p><p class="shape">{arrow.join(map(_axes, shapes))}</p>')
        yield


def _axes(shape: Shape) -> str:
    """A shape as HTML: every number above the name of what it counts."""
    sides = (f"<span><b>{count:,}</b> <small>{escape(name)}</small></span>" for name, count in shape.items())
    return f'<span class="axes">{"<i>×</i>".join(sides)}</span>'


def why_prefix(prefix_tokens: Sequence[str]) -> str:
    """What the tokens before the patches are for."""
    roles = [role for start, role in ROLES.items() if any(name.startswith(start) for name in prefix_tokens)]
    if not roles:
        return "This model has no token of its own: what it says of the whole photo, it reads from the patches' tokens."
    one = len(prefix_tokens) == 1
    start = "The prefix token stands for no patch and starts" if one else "They stand for no patch and start"
    return f"{start} the same for every photo; layer by layer, {list_in_words(roles)}."


def why_positions(tokens: Tokens) -> str:
    """Why the model needs the places of patches, added here or in the layers."""
    if tokens.positions is None:
        return "To attention, tokens are a set without order; nothing is added here that tells where a patch lies."
    return "To attention, tokens are a set without order; so each gets a vector added that stands for its place."


def show_vectors(now: Current, tokens: Tokens, patch: tuple[int, int]) -> None:
    """The projection's filters, the picked patch's vector, and how long every patch's vector is."""
    norms = tokens.norms
    left, right = st.columns([3, 2], gap="large")
    with left:
        _show_filters(now)
        _picture(
            vector_strip(tokens.vectors[tokens.index(patch)], _limit(tokens), height=88),
            f"The vector of patch {patch}: {now.model.width:,} numbers, teal below zero, orange above.",
        )
    with right:
        _picture(
            marked_map(norms, patch),
            "How long every patch's vector is, its L2 norm (the root of the sum of its squares): "
            f"{norms.min():.3g} (dark) to {norms.max():.3g} (bright).",
        )


def _show_filters(now: Current) -> None:
    try:
        sheet = _sheet(cached.model_number(now.model), now.model)
    except ModelError as error:
        st.info(plain(str(error)))
        return
    _picture(
        sheet,
        "What the linear projection looks for in a patch, most important first: each number of a vector is a mixture "
        "of how well these patterns fit (principal components of the projection's kernel).",
    )


@st.cache_resource(max_entries=4, show_spinner=False)
def _sheet(number: int, _model: Model) -> Image.Image:
    return filter_sheet(filters(_model))


def show_prefix(tokens: Tokens, patch: tuple[int, int]) -> None:
    """All tokens as lines, the prefix tokens first."""
    count = len(tokens.prefix_tokens)
    lines = np.concatenate([tokens.entering[:count], tokens.vectors])
    order = f"first {', '.join(tokens.prefix_tokens)}, then the patches" if count else "the patches"
    _picture(
        token_lines(lines, count, _limit(tokens), count + tokens.index(patch)),
        f"Every line is a token: {order}, row by row. The bar at the side marks patch {patch}.",
    )


def show_positions(tokens: Tokens, model: Model, patch: tuple[int, int]) -> None:
    """The picked patch's vector, its position and their sum; and which places have similar positions."""
    similarity = tokens.position_similarity(patch)
    kinds = position_kinds(model)
    if tokens.positions is None or similarity is None:
        instead = " and ".join(INSTEAD[kind] for kind in kinds) or "nothing in it tells where a patch lies"
        st.info(f"This model has no position embeddings to show: {instead}.")
        return
    index, limit = tokens.index(patch), _limit(tokens)
    left, right = st.columns([3, 2], gap="large")
    with left:
        for vector, words in (
            (tokens.vectors[index], f"The vector of patch {patch} …"),
            (tokens.positions[index], f"… plus the position embedding of row {patch[0]}, column {patch[1]} …"),
            (tokens.vectors[index] + tokens.positions[index], "… is the token that enters layer 0."),
        ):
            _picture(vector_strip(vector, limit, height=88), words)
        for kind in kinds:
            st.caption(f"Besides, {INSTEAD[kind]}.")
    with right:
        _picture(
            marked_map(similarity, patch),
            f"How alike the position of patch {patch} is to every other: cosine similarity, "
            f"{_with_minus(similarity.min())} (dark) to 1 (bright). Near places are alike, often "
            "a whole row and column.",
        )


def _with_minus(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _limit(tokens: Tokens) -> float:
    """One colour scale for all vectors of the page."""
    return float(np.percentile(np.abs(tokens.vectors), 99))


def _picture(picture: Image.Image, caption: str) -> None:
    """The caption says in words what the picture shows, so it is its alternative text, too."""
    st.image(picture, caption=caption, alt=caption, width="stretch", output_format="PNG")
