"""A heatmap laid over an image."""

from numbers import Real

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from explorer.data.images import ImageSource, open_image
from explorer.errors import QueryError
from explorer.models.geometry import RESAMPLING
from explorer.rendering.colormaps import colorize


def normalize(
    heatmap: Float[np.ndarray, "*shape"], low: float | None = None, high: float | None = None
) -> Float[np.ndarray, "*shape"]:
    """The heatmap scaled to 0..1 from its own (or the given) minimum and maximum; a flat map becomes zeros."""
    low = float(heatmap.min()) if low is None else low
    high = float(heatmap.max()) if high is None else high
    if high <= low:
        return np.zeros_like(heatmap, dtype=np.float32)
    return np.clip((heatmap - low) / (high - low), 0, 1).astype(np.float32)


def enlarge(
    heatmap: Float[np.ndarray, "row col"], size: tuple[int, int], resample: str = "bicubic"
) -> Float[np.ndarray, "height width"]:
    """The heatmap at size = (width, height) in pixels."""
    check_resample(resample)
    picture = Image.fromarray(np.ascontiguousarray(heatmap, dtype=np.float32))
    return np.array(picture.resize(size, RESAMPLING[resample]))


def blend(image: Image.Image, colors: UInt8[np.ndarray, "height width 3"], opacity: float) -> Image.Image:
    """Colours over an RGB image of that size; QueryError for an opacity outside 0 to 1."""
    check_opacity(opacity)
    return Image.blend(image, Image.fromarray(colors), opacity)


def check_resample(resample: str) -> None:
    """Raise QueryError for a word that names no filter."""
    if resample not in RESAMPLING:
        raise QueryError(f"resample must be one of {', '.join(RESAMPLING)}, not {resample!r}.")


def check_opacity(opacity: float) -> None:
    """Raise QueryError for an opacity outside 0 to 1."""
    if not isinstance(opacity, Real) or not 0 <= opacity <= 1:
        raise QueryError(f"opacity must lie between 0 and 1, not {opacity}.")


def _check(heatmap: np.ndarray) -> None:
    if heatmap.ndim != 2 or not heatmap.size:
        raise QueryError(f"A heatmap must have the shape (rows, cols), not {heatmap.shape}.")
    if not np.isfinite(heatmap).all():
        raise QueryError("A heatmap must hold finite numbers; this one holds NaN or infinity.")


def overlay(
    image: ImageSource,
    heatmap: Float[np.ndarray, "row col"],
    opacity: float = 0.6,
    colormap: str = "inferno",
    resample: str = "bicubic",
) -> Image.Image:
    """The heatmap, scaled to its own range, in colour over the image; the result has the image's size.

    opacity: 0 shows the image alone, 1 the colours alone; colormap: inferno, viridis, cividis, turbo or grey; resample:
    nearest, bilinear, bicubic or lanczos. Raises QueryError for settings out of range, ImageError for a bad image.
    """
    _check(heatmap)
    image = open_image(image)
    return blend(image, colorize(enlarge(normalize(heatmap), image.size, resample), colormap), opacity)
