"""The colour maps of the explorer: perceptually ordered, the same in pictures, figures and the live canvas."""

from functools import cache

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from explorer.errors import QueryError

_OPENCV = {
    "inferno": cv2.COLORMAP_INFERNO,
    "viridis": cv2.COLORMAP_VIRIDIS,
    "cividis": cv2.COLORMAP_CIVIDIS,
    "turbo": cv2.COLORMAP_TURBO,
}
COLORMAPS = (*_OPENCV, "grey")  # to choose from
DIVERGING = "diverging"  # of signed maps: blue below 0, white at 0, red above
_ENDS = np.array([[5, 48, 97], [67, 147, 195], [247, 247, 247], [214, 96, 77], [103, 0, 31]])  # ColorBrewer's RdBu


@cache
def lookup_table(colormap: str) -> UInt8[np.ndarray, "256 3"]:
    """RGB from the lowest value to the highest."""
    if colormap == DIVERGING:
        at = np.linspace(0, 255, len(_ENDS))
        columns = [np.interp(np.arange(256), at, channel) for channel in _ENDS.T]
        return np.stack(columns, axis=1).round().astype(np.uint8)
    if colormap not in COLORMAPS:
        raise QueryError(f"The colour map must be one of {', '.join(COLORMAPS)}, not {colormap!r}.")
    ramp = np.arange(256, dtype=np.uint8)
    if colormap == "grey":
        return np.repeat(ramp[:, None], 3, axis=1)
    return cv2.applyColorMap(ramp[:, None], _OPENCV[colormap])[:, 0, ::-1].copy()


def colorize(values: Float[np.ndarray, "*shape"], colormap: str = "inferno") -> UInt8[np.ndarray, "*shape 3"]:
    """Values in 0..1 as RGB."""
    indices = np.clip(np.round(values * 255), 0, 255).astype(np.uint8)
    return lookup_table(colormap)[indices]
