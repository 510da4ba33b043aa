"""The steps of the walk through a layer: each has its words, a map on the photo, and the numbers beside it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

import numpy as np
import streamlit as st
from PIL import Image

from explorer.attention.lens import Lens
from explorer.attention.recording import Recording
from explorer.data.images import png_uri
from explorer.rendering.colormaps import DIVERGING, colorize
from explorer.rendering.inside import largest, length_figure, share_figure
from explorer.rendering.overlay import normalize
from explorer.rendering.patches import vector_strip
from explorer.ui.inside.token import Followed, kept_lens, token_names
from explorer.ui.messages import show_errors
from explorer.ui.widgets import PLAIN, facts
from explorer.words import percent, with_sign

SHOWN_VALUES = 5
MAP = 224  # pixels a small map is wide at least
STRIP = 36  # pixels a vector is high


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


class Line(NamedTuple):
    """A vector with its name; picture: the patch it belongs to, number: what stands beside the name."""

    name: str
    vector: np.ndarray
    number: str = ""
    picture: Image.Image | None = None


def vectors(lines: Sequence[Line]) -> None:
    """One strip of colours under the other, teal below 0, orange above, all in one scale."""
    limit = float(np.percentile(np.abs(np.concatenate([line.vector for line in lines])), 99))
    st.html(f'<div class="vectors">{"".join(_line(line, limit) for line in lines)}</div>')


def _line(line: Line, limit: float) -> str:
    picture = "" if line.picture is None else f'<img class="patch" src="{png_uri(line.picture)}" alt="">'
    words = f"{escape(line.name)}{f' <b>{escape(line.number)}</b>' if line.number else ''}"
    strip = vector_strip(line.vector, limit, STRIP)
    return (
        f"<figure><figcaption>{picture}<span>{words}</span></figcaption>"
        f'<img class="strip" src="{png_uri(strip)}" alt="{escape(line.name)}: {len(line.vector)} numbers"></figure>'
    )


def small_maps(maps: Sequence[np.ndarray], names: Sequence[str], colormap: str, low: float, high: float) -> None:
    """Maps (rows, cols) side by side in one scale, as many in a row as fit."""
    cells = (
        f'<figure><img src="{png_uri(_small(heatmap, colormap, low, high))}" alt="{escape(name)}">'
        f"<figcaption>{escape(name)}</figcaption></figure>"
        for heatmap, name in zip(maps, names, strict=True)
    )
    st.html(f'<div class="small-maps">{"".join(cells)}</div>')


def _small(heatmap: np.ndarray, colormap: str, low: float, high: float) -> Image.Image:
    zoom = max(1, round(MAP / max(heatmap.shape)))
    picture = Image.fromarray(colorize(normalize(heatmap, low, high), colormap))
    return picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.NEAREST)


def patches_of(rec: Recording, row: np.ndarray) -> np.ndarray:
    """The numbers of the patches, from those of all tokens."""
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
        f"{with_sign(float(scores[worst]))}. How the best one is computed:"
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
    rest = "" if len(shares) <= SHOWN_VALUES else f" The other {len(shares) - SHOWN_VALUES} are mixed in, too."
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


def _draw_result(now: Followed) -> None:
    """Lengths, way and direction; then the classifier's first guess after every layer."""
    step = now.step
    before, after = step.norms
    facts(
        {
            "Length before": f"{before:.3g}",
            "Length after": f"{after:.3g}",
            "Moved by": f"{step.moved:.3g}",
            "Cosine to before": f"{step.cosine:.3f}".replace("-", "−"),
        }
    )
    st.caption("A cosine of 1: the same direction as before. 0: nothing in common. Lengths are L2 norms.")
    rec = now.recording
    if step.said is None:
        st.caption("This model has no classifier.")
        return
    if rec.model.outputs == "number":
        numbers = " → ".join(f"{value:.4g}" for value in step.said[:, 0])
        st.markdown(f"**What the model would predict** from this token before and after the layer: {numbers}")
        return
    st.markdown("**What the classifier would say of this token after each layer**")
    with show_errors():
        _guesses(kept_lens(rec), rec, now)
    read = "the cls token after the last layer" if "cls" in rec.prefix_tokens else "what the last layer leaves"
    st.caption(f"The model's own last norm and classifier, applied early: they were trained to read {read}.")


def _guesses(lens: Lens, rec: Recording, now: Followed) -> None:
    token = now.step.token
    after = ["before layer 0", *(f"layer {layer}" for layer in range(rec.depth))]
    after[now.step.layer + 1] = f"▸ layer {now.step.layer}"
    table = {
        "After": after,
        "First guess": [rec.model.class_name(int(index)) for index in lens.classes[:, token, 0]],
        "Probability": 100 * lens.probabilities[:, token, 0].astype(np.float64),
    }
    bars = st.column_config.ProgressColumn("Probability", format="%.1f %%", min_value=0, max_value=100)
    st.dataframe(table, column_config={"Probability": bars}, hide_index=True, width="stretch", height="content")


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
        "the two fit, the higher the score.",
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
        _paint_moved, _draw_result,
    ),
)  # fmt: skip
