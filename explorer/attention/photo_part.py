"""Which part of which photo a recording shows, so that two recordings can be compared place by place."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from explorer.models.geometry import Box, Geometry

SIDE = 32  # cells along each side of the small copy
OTHER = 16  # of 255: how far a cell of another photo lies off; saving again or making smaller changes less
STRETCHED = 0.03  # of the aspect: a small copy has whole pixels
MOVED = 0.01  # of the photo's side


@dataclass(frozen=True, eq=False)
class PhotoPart:
    """A photo, known by a small copy of the whole of it, and what the model saw of it."""

    photo_size: tuple[int, int]  # (width, height) in pixels
    cells: np.ndarray  # (32, 32, 3) uint8: mean colours
    geometry: Geometry

    @property
    def box(self) -> Box:
        """What the model saw, as shares of the photo's sides."""
        return self.geometry.box(self.photo_size)

    def same_photo(self, other: "PhotoPart") -> bool:
        """Whether both show one photo, whatever its size and file format."""
        aspects = [part.photo_size[0] / part.photo_size[1] for part in (self, other)]
        alike = np.abs(self.cells.astype(int) - other.cells).max() <= OTHER
        return bool(alike and abs(aspects[0] / aspects[1] - 1) <= STRETCHED)

    def same_box(self, other: "PhotoPart", pixel: float = 0.0) -> bool:
        """Whether both boxes lie on each other, to the rounding of the coarser one: a pixel, as a share of its side."""
        return max(abs(a - b) for a, b in zip(self.box, other.box, strict=True)) <= max(MOVED, 1.5 * pixel)


def photo_part(photo: Image.Image, geometry: Geometry) -> PhotoPart:
    """The part of an upright RGB photo that a model sees."""
    cells = np.array(photo.resize((SIDE, SIDE), Image.Resampling.BOX))
    return PhotoPart(photo.size, cells, geometry)
