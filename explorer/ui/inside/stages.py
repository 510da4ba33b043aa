"""The steps of the walk through a layer: each has its words, a map on the photo, and the numbers beside it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import streamlit as st
from PIL import Image

from explorer.attention.recording import Recording
from explorer.rendering.colormaps import DIVERGING
from explorer.rendering.inside import largest, length_figure, share_figure
from explorer.ui.inside.pictures import Line, small_maps, vectors
from explorer.ui.inside.result import draw_result
from explorer.ui.inside.token import Followed, token_names
from explorer.ui.widgets import PLAIN
from explorer.words import percent, with_sign

SHOWN_VALUES = 5


@dataclass(frozen=True)
class Painted:
    """A map for the photo: values (rows, cols) between low and high in colour, and what they are."""

    values: np.ndarray
    colormap: str
    low: float
    high: float
    words: str
    number: Callable[[float], str] = lambda value: f"{value:.3g}".replace("-", "−")  # a value in words


@dataclass(frozen=True)
class Stage:
    """One step of the walk."""

    name: str
    title: str
    why: str
    paint: Callable[[Followed], Painted]
    draw: Callable[[Followed], None]


def patches_of(rec: Recording, row: np.ndarray) -> np.ndarray:
    """Numbers of all tokens -> (rows, cols) of the patches."""
    return row[len(rec.prefix_tokens) :].reshape(rec.grid)


def _paint_scores(now: Followed) -> Painted:
    values = patches_of(now.recording, now.step.scores[now.head])
    limit = float(np.abs(values).max())
    return Painted(values, DIVERGING, -limit, limit, f"Scores of head {now.head}")


def _paint_shares(now: Followed) -> Painted:
    values = patches_of(now.recording, now.step.pattern[now.head])
    return Painted(values, "inferno", 0.0, float(values.max()), f"Shares of head {now.head}", percent)


def _paint_heads(now: Followed) -> Painted:
    values = patches_of(now.recording, now.step.pattern.mean(axis=0))
    return Painted(values, "inferno", 0.0, float(values.max()), "Shares, mean of all heads", percent)


def _paint_mlp(now: Followed) -> Painted:
    values = patches_of(now.recording, now.inside.mlp.norm(dim=-1).float().cpu().numpy())
    return Painted(values, "viridis", 0.0, float(values.max()), "How much the MLP adds to each patch's token")


def _paint_moved(now: Followed) -> Painted:
    moved = (now.inside.after - now.inside.before).norm(dim=-1)
    values = patches_of(now.recording, moved.float().cpu().numpy())
    return Painted(values, "viridis", 0.0, float(values.max()), "How far each patch's token moved in this layer")


def _draw_scores(now: Followed) -> None:
    step, head, names = now.step, now.head, token_names(now.recording)
    scores = step.scores[head]
    best, worst = int(scores.argmax()), int(scores.argmin())
    st.markdown(
        f"Fits best: **{names[best]}**, score **{with_sign(float(scores[best]))}**. Fits worst: {names[worst]}, "
        f"{with_sign(float(scores[worst]))}. This is how the best one comes about:"
    )
    q, k = step.q[head], step.k[head, best]
    vectors([Line(f"The query of {now.name}", q, f"{len(q)} numbers"), Line(f"The key of {names[best]}", k)])
    vectors([Line("Query times key, number by number", q * k)])
    product = float(q @ k)
    bias = float(scores[best]) - product * step.scale
    moved = f", plus {with_sign(bias)} for the place" if abs(bias) > 1e-3 * max(1.0, abs(product * step.scale)) else ""
    st.markdown(
        f"Added up: {with_sign(product)}. Times {step.scale:.3g}, which keeps scores small{moved}: "
        f"**{with_sign(float(scores[best]))}**."
    )


def _draw_shares(now: Followed) -> None:
    st.plotly_chart(
        share_figure(now.step.pattern[now.head], token_names(now.recording)), key="inside_shares", width="stretch",
        config=PLAIN,
    )  # fmt: skip
    even = 1 / now.step.pattern.shape[1]
    st.caption(f"All bars together are 100 %. Spread evenly, every token would get {percent(even, 2)}.")


def _draw_values(now: Followed) -> None:
    step, head, names = now.step, now.head, token_names(now.recording)
    shares = step.pattern[head]
    first = largest(shares, SHOWN_VALUES)
    rest = "" if len(shares) <= SHOWN_VALUES else f" The other {len(shares) - SHOWN_VALUES} are mixed in likewise."
    lines = [
        Line(names[index], step.values[head, index], percent(shares[index]), thumbnail(now.recording, index))
        for index in first
    ]
    vectors([*lines, Line(f"The mixture: what head {head} found", step.heads[head], f"{step.heads.shape[1]} numbers")])
    st.caption(f"The largest shares first.{rest}")


def _draw_heads(now: Followed) -> None:
    step, rec = now.step, now.recording
    maps = [patches_of(rec, row) for row in step.pattern]
    small_maps(maps, [f"head {head}" for head in range(len(maps))], "inferno", 0.0, max(map(np.max, maps)))
    heads, dim = step.heads.shape
    vectors([Line("The mixtures of all heads, joined", step.joined, f"{heads} × {dim} numbers")])
    vectors(
        [
            Line("Projected: what attention adds", step.attention, f"{len(step.attention)} numbers"),
            Line("The token before", step.before),
            Line("Both added: the token after attention", step.between),
        ]
    )


def _draw_mlp(now: Followed) -> None:
    step = now.step
    vectors(
        [
            Line("The token after attention", step.between),
            Line("What the MLP adds", step.mlp),
            Line("Both added: the token after the layer", step.after),
        ]
    )
    lengths = {"token before": step.before, "attention adds": step.attention, "MLP adds": step.mlp,
               "token after": step.after}  # fmt: skip
    figure = length_figure({name: float(np.linalg.norm(vector)) for name, vector in lengths.items()})
    st.plotly_chart(figure, key="inside_lengths", width="stretch", config=PLAIN)


def thumbnail(rec: Recording, token: int) -> Image.Image | None:
    """The pixels of a patch; None for a prefix token."""
    place = token - len(rec.prefix_tokens)
    if place < 0:
        return None
    row, col = divmod(place, rec.grid[1])
    side = rec.patch_size
    return rec.image.crop((col * side, row * side, (col + 1) * side, (row + 1) * side))


STAGES = (
    Stage(
        "Scores", "Its query against every key",
        "In each head the token asks with a vector, its query, and every token answers with one, its key. The better "
        "both fit, the higher the score.",
        _paint_scores, _draw_scores,
    ),
    Stage(
        "Softmax", "Softmax: scores become shares of 100 %",
        "e (2.718 …) to the power of each score, divided by the sum of all of these: a score that is 1 higher gets 2.7 "
        "times the share. These shares are what is called attention.",
        _paint_shares, _draw_shares,
    ),
    Stage(
        "Values", "A mixture of values",
        "Every token also has a value: what it gives to those that look at it. The head takes from each as much as its "
        "share, and adds up.",
        _paint_shares, _draw_values,
    ),
    Stage(
        "Heads", "All heads, side by side and joined",
        "Every head looks in its own way. Their mixtures are put one after the other, and one learnt projection turns "
        "them into what is added to the token.",
        _paint_heads, _draw_heads,
    ),
    Stage(
        "MLP", "The MLP: each token by itself",
        "A small network, the same for all tokens, works on what the token holds now. No token sees another here.",
        _paint_mlp, _draw_mlp,
    ),
    Stage(
        "Result", "The token after the layer",
        "What the layer did to the token in all: how long it is now, how far it moved, and what the classifier would "
        "make of it.",
        _paint_moved, draw_result,
    ),
)  # fmt: skip
