"""One map through all layers as a GIF, each frame named."""

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from explorer.attention.maps.table import MAP_KINDS
from explorer.data.images import ImageSource
from explorer.errors import QueryError
from explorer.rendering.backdrop import backdrop
from explorer.rendering.video import gif
from explorer.rendering.view import View, paint, shown_map, shown_mask, value_range

if TYPE_CHECKING:
    from explorer.attention.recording import Recording


def layers_gif(
    view: View, recording: "Recording", fps: float = 2.0, zoom: int = 2, photo: ImageSource | None = None
) -> bytes:
    """The view's map in layer 0, 1, … as an endless GIF over the photo, where that is given.

    It is `zoom` times as wide as what the model saw, or look.width pixels. With scale "shared" or "raw" all layers have
    one colour scale. Raises QueryError for a kind of map that isn't shown layer by layer.
    """
    sweep = view.map.row.sweep
    if sweep is None:
        others = " or ".join(name for name, kind in MAP_KINDS.items() if kind.sweep)
        raise QueryError(
            f"{view.map.row.title} runs through all layers at once, so there's no animation of it: choose {others}."
        )
    steps = [view.with_map(**{sweep.setting: layer}) for layer in range(recording.depth)]
    maps = np.stack([shown_map(step, recording) for step in steps])
    common = None if view.look.scale == "map" else value_range(view, maps)
    width = view.look.width or zoom * recording.image.width
    image = backdrop(recording.image, photo, recording.part.geometry, width)
    frames = []
    for layer, heatmap in enumerate(maps):
        low, high = common or value_range(view, heatmap)
        frame = paint(view.drawn_look, image, heatmap, low, high, shown_mask(view.look, heatmap))
        frames.append(add_caption(frame, f"{sweep.caption} {layer}"))
    return gif(frames, fps)


def add_caption(picture: Image.Image, text: str) -> Image.Image:
    """The picture with a line of white text on a dark strip below it."""
    size = max(12, picture.width // 22)
    framed = Image.new("RGB", (picture.width, picture.height + 2 * size), (24, 24, 27))
    framed.paste(picture, (0, 0))
    place = (picture.width / 2, picture.height + size)
    ImageDraw.Draw(framed).text(place, text, fill="white", anchor="mm", font=ImageFont.load_default(size))
    return framed
