"""A comparison for a paper: both maps and their difference, labelled, the difference with its colour bar."""

import json
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from explorer.data.images import ImageSource
from explorer.rendering.backdrop import backdrop
from explorer.rendering.comparison import EQUAL, LESS, MORE, difference_map, paint_difference, second_view
from explorer.rendering.figures import DPI, GAP, LABEL, MARGIN, TITLE, WIDTH
from explorer.rendering.provenance import KEY, provenance, with_provenance
from explorer.rendering.vector import Drawing, Item, Picture, Text
from explorer.rendering.view import View, limits, paint, shown_map, shown_mask
from explorer.words import percent

if TYPE_CHECKING:
    from explorer.attention.recording import Recording

BAR = 120.0  # points


def comparison_figure(view: View, first: "Recording", second: "Recording", photo: ImageSource | None = None) -> Drawing:
    """The view of the first, the same place of the second, and where the second looks more; photo as in figure()."""
    side = (WIDTH - 2 * MARGIN - 2 * GAP) / 3
    image = backdrop(first.image, photo, first.part.geometry, round(side / 72 * DPI))
    change = difference_map(view, first, second)
    most = max(float(np.abs(change).max()), EQUAL)
    panels = [
        (_painted(view, first, image), first.model_name),
        (_painted(second_view(view, first, second), second, image), second.model_name),
        (paint_difference(image, change), "second - first, share of its own map"),
    ]
    height = side * image.height / image.width
    title = f"{view.map.row.heading(first, dict(view.map.settings))}: {first.model_name} and {second.model_name}"
    top, items = MARGIN + 1.6 * TITLE, [Text(title, MARGIN, MARGIN + TITLE, min(TITLE, 1.7 * WIDTH / len(title)))]
    for column, (picture, label) in enumerate(panels):
        x = MARGIN + column * (side + GAP)
        items += [Picture(picture, x, top, side, height), Text(label, x + side / 2, top + height + 9, LABEL, "middle")]
    bottom = top + height + 18
    items += _bar(most, MARGIN + 2 * (side + GAP) + side / 2, bottom)
    return Drawing(WIDTH, bottom + 2 * LABEL, tuple(items), title, _settings(view, first, second))


def _painted(view: View, recording: "Recording", image: Image.Image) -> Image.Image:
    heatmap = shown_map(view, recording)
    low, high = limits(view, recording, heatmap)
    return paint(view.drawn_look, image, heatmap, low, high, shown_mask(view.look, heatmap))


def _bar(most: float, middle: float, y: float) -> list[Item]:
    """The colours of a change from -most to +most, with both numbers in percent."""
    strength = np.linspace(-1, 1, 256)[None, :, None]
    colours = np.where(strength > 0, MORE, LESS) * np.abs(strength) + 178 * (1 - np.abs(strength))
    ramp, left = Image.fromarray(colours.astype(np.uint8)), middle - BAR / 2
    numbers = [
        Text(percent(-most, 2), left - 4, y + LABEL, LABEL, "end"),
        Text(f"+{percent(most, 2)}", left + BAR + 4, y + LABEL, LABEL),
    ]
    return [Picture(ramp, left, y + 1, BAR, LABEL), *numbers]


def _settings(view: View, first: "Recording", second: "Recording") -> str:
    """The first's settings and origin, and the second's beside them."""
    other = {"source": second.model.source.source, KEY: provenance(second)}
    return json.dumps({**json.loads(with_provenance(view.to_json(), first)), "second": other})
