"""Two recordings of one photo side by side, with the map of what changed between them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from PIL import Image

from explorer.attention.divergence import check_same_view, difference, matching_query, same_depth
from explorer.attention.maps.settings import Layer, QueryToken
from explorer.data.images import ImageSource
from explorer.rendering.backdrop import backdrop
from explorer.rendering.gif import add_caption
from explorer.rendering.overlay import enlarge
from explorer.rendering.video import side_by_side
from explorer.rendering.view import View, limits, paint, shown_map, shown_mask, value_range

if TYPE_CHECKING:
    from explorer.attention.recording import Recording

# Blue where the second looks less, orange where it looks more: any colour vision tells them apart.
LESS, MORE = np.array([33, 102, 220]), np.array([240, 120, 20])
EQUAL = 1e-6  # of a map's sum: a change that is rounding alone
OPACITY = 0.8  # of the largest change over the photo
PANEL = 720  # pixels of a panel's longer side, where no width is asked for


def second_view(view: View, first: "Recording", second: "Recording") -> View:
    """The first recording's view as it is asked of the second: the same place, the same relative depth."""
    changes, asks, layer = {}, view.map.row.needs(QueryToken), view.map.row.needs(Layer)
    if asks:
        query = view.map[asks.name] or first.default_query
        own = query == first.default_query
        changes[asks.name] = second.default_query if own else matching_query(query, first.grid, second.grid)
    if layer:
        changes[layer.name] = same_depth(view.map[layer.name] % first.depth, first.depth, second.depth)
    return view.with_map(**changes)


def difference_map(view: View, first: "Recording", second: "Recording") -> Float[np.ndarray, "row col"]:
    """The change in each patch's share, second - first, on the finer grid."""
    check_same_view(first, second)
    return difference(shown_map(view, first), shown_map(second_view(view, first, second), second))


def paint_difference(image: Image.Image, change: Float[np.ndarray, "row col"]) -> Image.Image:
    """The change over a grey photo: orange where the second looks more, blue where less, clear where alike."""
    strength = enlarge(change, image.size, "bicubic") / max(float(np.abs(change).max()), EQUAL)
    colors = np.where(strength[..., None] > 0, MORE, LESS)
    alpha = np.clip(np.abs(strength), 0, 1)[..., None] * OPACITY
    grey = np.array(image.convert("L").convert("RGB")) * 0.7 + 60
    return Image.fromarray((grey * (1 - alpha) + colors * alpha).clip(0, 255).astype(np.uint8))


def comparison_picture(
    view: View, first: "Recording", second: "Recording", photo: ImageSource | None = None
) -> Image.Image:
    """The first map, the second map and their difference in a row, over what the first saw of the photo.

    Each is look.width pixels wide, else as wide as the photo, up to PANEL.
    """
    image = backdrop(first.image, photo, first.part.geometry, view.look.width, largest=PANEL)
    panels = []
    for recording, shown in ((first, view), (second, second_view(view, first, second))):
        heatmap = shown_map(shown, recording)
        painted = paint(
            shown.drawn_look, image, heatmap, *limits(shown, recording, heatmap), shown_mask(shown.look, heatmap)
        )
        panels.append(painted)
    return side_by_side([*panels, paint_difference(image, difference_map(view, first, second))])


def epochs_picture(
    view: View,
    start: "Recording",
    maps: Sequence[tuple[int, Float[np.ndarray, "row col"]]],
    photo: ImageSource | None = None,
) -> Image.Image:
    """The map at each (epoch, map) in a row, each in its own range and named; 0 is the start; sizes as above."""
    image = backdrop(start.image, photo, start.part.geometry, view.look.width, largest=PANEL)
    panels = []
    for epoch, heatmap in maps:
        painted = paint(view.drawn_look, image, heatmap, *value_range(view, heatmap), shown_mask(view.look, heatmap))
        panels.append(add_caption(painted, f"epoch {epoch}" if epoch else "start"))
    return side_by_side(panels)
