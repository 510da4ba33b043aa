"""The photo under a map: what the model saw of it, as sharp as the photo is."""

from typing import TYPE_CHECKING

from PIL import Image

from explorer.data.images import ImageSource, open_image

if TYPE_CHECKING:
    from explorer.models.geometry import Geometry

LARGEST = 2048  # pixels of a picture's longer side, where no width is asked for
SMALLEST_SIDE = 2  # pixels: a 3000x4 photo still has two sides, and video codecs need two of each


def backdrop(
    seen: Image.Image,
    photo: ImageSource | None,
    geometry: "Geometry",
    width: int | None = None,
    zoom: float = 1,
    largest: int = LARGEST,
) -> Image.Image:
    """The part of the photo that the model saw, at the photo's own resolution.

    seen: the fitted image; photo: what it was made of, None where only `seen` is left; geometry: how. A squashed
    photo gets its own aspect back. width: of the result in pixels; None: the photo's own, its longer side at most
    `largest` and at least `zoom` times that of `seen`.
    """
    part = seen if photo is None else geometry.part(open_image(photo))
    longest = max(part.size)
    wanted = max(min(longest, largest), zoom * max(seen.size))
    scale = width / part.width if width else wanted / longest
    size = tuple(max(SMALLEST_SIDE, round(side * scale)) for side in part.size)
    return part if size == part.size else part.resize((size[0], size[1]), Image.Resampling.BICUBIC)
