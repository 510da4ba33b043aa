"""The colour maps of the explorer: perceptually ordered, the same in pictures, figures and the live canvas."""

from functools import cache

import cv2
import numpy as np

from explorer.errors import QueryError

_OPENCV = {
    "inferno": cv2.COLORMAP_INFERNO,
    "viridis": cv2.COLORMAP_VIRIDIS,
    "cividis": cv2.COLORMAP_CIVIDIS,
    "turbo": cv2.COLORMAP_TURBO,
}
COLORMAPS = (*_OPENCV, "grey")


@cache
def lookup_table(colormap: str) -> np.ndarray:
    """(256, 3) uint8 RGB, from the lowest value to the highest."""
    if colormap not in COLORMAPS:
        raise QueryError(f"The colour map must be one of {', '.join(COLORMAPS)}, not {colormap!r}.")
    ramp = np.arange(256, dtype=np.uint8)
    if colormap == "grey":
        return np.repeat(ramp[:, None], 3, axis=1)
    return cv2.applyColorMap(ramp[:, None], _OPENCV[colormap])[:, 0, ::-1].copy()


def colorize(values: np.ndarray, colormap: str = "inferno") -> np.ndarray:
    """Values in 0..1 of any shape -> uint8 RGB, shape (..., 3)."""
    indices = np.clip(np.round(values * 255), 0, 255).astype(np.uint8)
    return lookup_table(colormap)[indices]
