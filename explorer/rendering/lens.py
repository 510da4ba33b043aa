"""Pictures of the lens: the probability of classes layer by layer, and every patch's first guess in colours."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, Int
from PIL import Image

from explorer.rendering.charts import MARGIN
from explorer.words import PERCENT_AXIS, chart_text

# Of Okabe and Ito (2008), told apart by people who see colours differently; grey for all other classes.
PALETTE = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))
OTHER = (150, 150, 150)


@dataclass(frozen=True)
class Guesses:
    """Every patch's likeliest class as a colour, stronger where it is likelier."""

    picture: Image.Image  # RGB, a pixel a patch
    legend: dict[int | None, tuple[int, int, int]]  # class -> colour, the most frequent first; None: all others


def guesses(classes: Int[np.ndarray, "row col"], shares: Float[np.ndarray, "row col"]) -> Guesses:
    """classes: each patch's first guess; shares: its probability, which mixes the colour with white."""
    common = [int(index) for index, _ in Counter(classes.ravel().tolist()).most_common(len(PALETTE))]
    legend: dict[int | None, tuple[int, int, int]] = dict(zip(common, PALETTE, strict=False))
    if set(np.unique(classes).tolist()) - set(common):
        legend[None] = OTHER
    colours = np.array([[legend.get(int(index), OTHER) for index in row] for row in classes], np.float32)
    strength = (0.25 + 0.75 * shares.clip(0, 1))[..., None]
    mixed = 255 - (255 - colours) * strength
    return Guesses(Image.fromarray(mixed.round().astype(np.uint8)), legend)


def course_figure(image: Float[np.ndarray, "place class"], names: dict[int, str], place: int) -> go.Figure:
    """A line for each named class: its probability for the whole image at every place; one place is marked."""
    depth = len(image) - 1
    figure = go.Figure()
    for index, name in names.items():
        name = chart_text(name)
        figure.add_scatter(
            x=list(range(depth + 1)), y=100 * image[:, index], name=name, mode="lines+markers",
            hovertemplate=f"{name}: %{{y:.1f}} %<extra></extra>",
        )  # fmt: skip
    figure.add_vline(x=place, line={"color": "#78716c", "dash": "dot", "width": 1.5})
    ticks = ["in", *map(str, range(depth))]
    figure.update_xaxes(title="after layer", tickvals=list(range(depth + 1)), ticktext=ticks)
    figure.update_yaxes(title="probability", rangemode="tozero", **PERCENT_AXIS)
    return figure.update_layout(height=380, margin=MARGIN, legend={"orientation": "h", "y": -0.25})
