"""Pictures of patches and tokens: filters on a sheet, vectors as colours, tokens as lines, maps with a patch marked."""

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from explorer.rendering.colormaps import colorize
from explorer.rendering.overlay import normalize

NEGATIVE, ZERO, POSITIVE = (13, 110, 112), (246, 241, 233), (194, 65, 12)
SHEET = 1200  # pixels a picture is wide at least: browsers blur what they enlarge


def signed_colors(values: Float[np.ndarray, "*shape"], limit: float) -> UInt8[np.ndarray, "*shape 3"]:
    """Values as RGB: -limit teal, zero pale, limit orange."""
    share = np.clip(values / max(limit, 1e-12), -1, 1)[..., None]
    ends = np.where(share < 0, np.array(NEGATIVE), np.array(POSITIVE))
    return (np.array(ZERO) + np.abs(share) * (ends - np.array(ZERO))).round().astype(np.uint8)


def vector_strip(vector: Float[np.ndarray, " width"], limit: float, height: int = 44) -> Image.Image:
    """A vector as a strip of coloured bars, one per number."""
    strip = Image.fromarray(signed_colors(vector, limit)[None])
    return strip.resize((_zoom(len(vector)) * len(vector), height), Image.Resampling.NEAREST)


def token_lines(
    tokens: Float[np.ndarray, "token width"], prefix: int, limit: float, marked: int, height: int = 420
) -> Image.Image:
    """Tokens as lines of coloured bars on a clear ground, a gap after the first `prefix` of them.

    The marked token has a bar at its left.
    """
    zoom, count = _zoom(tokens.shape[1]), len(tokens) - prefix
    # Whole lines where they fit; thousands of tokens share the pixels of twice that height.
    lines = min(max(2, height // len(tokens)) * count, 2 * height)
    margin, tall = 18, 14  # a single prefix token must be seen beside hundreds of patches
    bars = Image.fromarray(signed_colors(tokens, limit))
    width, top = bars.width * zoom, prefix * tall + (8 if prefix else 0)
    sheet = Image.new("RGBA", (margin + width, top + lines))
    for index in range(prefix):
        one = bars.crop((0, index, bars.width, index + 1)).resize((width, tall - 2), Image.Resampling.NEAREST)
        sheet.paste(one, (margin, index * tall))
    patches = bars.crop((0, prefix, bars.width, bars.height))
    resample = Image.Resampling.NEAREST if lines >= count else Image.Resampling.BOX
    sheet.paste(patches.resize((width, lines), resample), (margin, top))
    at, end = (top + (place - prefix) * lines // count for place in (marked, marked + 1))
    ImageDraw.Draw(sheet).rectangle((0, at - 2, margin - 6, end + 1), fill=POSITIVE)
    return sheet


def filter_sheet(filters: Float[np.ndarray, "filter patch patch 3"], columns: int = 8, gap: int = 6) -> Image.Image:
    """Filters in 0..1 on one clear sheet, row by row."""
    side = filters.shape[1]
    step = side * _zoom(columns * side) + gap
    rows = -(-len(filters) // columns)
    sheet = Image.new("RGBA", (columns * step - gap, rows * step - gap))
    for index, pixels in enumerate(filters):
        tile = Image.fromarray((pixels * 255).round().astype(np.uint8))
        tile = tile.resize((step - gap, step - gap), Image.Resampling.NEAREST)
        sheet.paste(tile, (index % columns * step, index // columns * step))
    return sheet


def marked_map(heatmap: Float[np.ndarray, "row col"], patch: tuple[int, int]) -> Image.Image:
    """A map in colour, every patch a visible square, with a white frame around one patch."""
    rows, cols = heatmap.shape
    zoom = _zoom(max(rows, cols))
    colors = Image.fromarray(colorize(normalize(heatmap), "viridis"))
    picture = colors.resize((cols * zoom, rows * zoom), Image.Resampling.NEAREST)
    top, left = patch[0] * zoom, patch[1] * zoom
    frame = (left, top, left + zoom - 1, top + zoom - 1)
    ImageDraw.Draw(picture).rectangle(frame, outline="white", width=max(2, zoom // 10))
    return picture


def _zoom(pixels: int) -> int:
    """The whole factor that makes so many pixels about SHEET wide."""
    return max(1, round(SHEET / pixels))
