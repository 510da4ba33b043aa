"""A heatmap laid over an image."""

import numpy as np
from PIL import Image

from explorer.errors import QueryError
from explorer.models.preprocess import RESAMPLING
from explorer.rendering.colormaps import colorize


def normalize(heatmap: np.ndarray, low: float | None = None, high: float | None = None) -> np.ndarray:
    """The heatmap scaled to 0..1 from its own (or the given) minimum and maximum; a flat map becomes zeros."""
    low = float(heatmap.min()) if low is None else low
    high = float(heatmap.max()) if high is None else high
    if high <= low:
        return np.zeros_like(heatmap, dtype=np.float32)
    return np.clip((heatmap - low) / (high - low), 0, 1).astype(np.float32)


def enlarge(heatmap: np.ndarray, size: tuple[int, int], resample: str = "bicubic") -> np.ndarray:
    """(rows, cols) float32 -> (height, width) float32 for size = (width, height)."""
    if resample not in RESAMPLING:
        raise QueryError(f"resample must be one of {', '.join(RESAMPLING)}, not {resample!r}.")
    picture = Image.fromarray(np.ascontiguousarray(heatmap, dtype=np.float32), mode=None)
    return np.array(picture.resize(size, RESAMPLING[resample]))


def overlay(
    image: Image.Image,
    heatmap: np.ndarray,
    opacity: float = 0.6,
    colormap: str = "inferno",
    resample: str = "bicubic",
) -> Image.Image:
    """The heatmap (rows, cols), scaled to its own range, in colour over the image; the result has the image's size."""
    if not 0 <= opacity <= 1:
        raise QueryError(f"opacity must lie between 0 and 1, not {opacity}.")
    colors = colorize(enlarge(normalize(heatmap), image.size, resample), colormap)
    return Image.blend(image.convert("RGB"), Image.fromarray(colors), opacity)
