"""What a transformers folder says of its preprocessing: size, cut, resampling, scale, mean and deviation."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from explorer.models.formats.channels import rgb_values
from explorer.models.formats.config import read_json
from explorer.models.formats.reading import first_line
from explorer.models.geometry import Geometry
from explorer.models.preprocess import to_pixels

Colour = tuple[float, float, float]
FILE, WHOLE = "preprocessor_config.json", "processor_config.json"  # the second with the text's half, since release 5
RESAMPLING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers, as processors store them
COLOURS = ("image_mean", "image_std", "do_normalize", "do_rescale", "rescale_factor", "resample")
# What transformers raises where a file asks for what it can't do.
BROKEN = (ValueError, TypeError, LookupError, AttributeError, OSError, ImportError, RuntimeError)
LARGEST = 65_536  # pixels of a side
PROBE = (90, 61)  # pixels of the picture on which it is compared with what is made of it here
ALIKE = 0.02  # mean difference of normalised pixels: rounding to 8 bit between two steps
SQUASHED_FROM = 384  # pixels: from here on ConvNeXT's processor squashes


@dataclass(frozen=True)
class Processor:
    """The settings of an image processor, with the defaults of its own class filled in; {} where a folder has none."""

    settings: dict[str, Any]
    notes: tuple[str, ...] = ()
    says_size: bool = True  # the folder itself, not the defaults of the processor's class
    library: Any = None  # transformers' own, where it can use the settings
    file: str = FILE  # that the settings lie in

    def normalisation(self, usual: tuple[Colour, Colour]) -> tuple[Colour, Colour]:
        """Mean and deviation of pixels from 0 to 1; usual: the family's own, where nothing is said."""
        if not self.settings:
            return usual
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        if self.settings.get("do_normalize"):
            mean = rgb_values(self.settings.get("image_mean"), usual[0])
            std = rgb_values(self.settings.get("image_std"), usual[1])
            std = std if min(std) > 0 else usual[1]
        # x * factor - mean, over std, is x - mean / factor, over std / factor: one rule for all processors
        factor = 255.0
        if self.settings.get("do_rescale"):
            factor *= _positive(self.settings.get("rescale_factor")) or 1 / 255
        factor = 1.0 if math.isclose(factor, 1.0, rel_tol=1e-6) else factor
        return _divide(mean, factor), _divide(std, factor)

    @property
    def interpolation(self) -> str:
        resample = self.settings.get("resample")
        return RESAMPLING.get(resample, "bicubic") if isinstance(resample, int) else "bicubic"

    @property
    def short_side(self) -> int | None:
        """Of the pictures that it makes, in pixels; None where it says nothing of their size."""
        if not self.says_size:
            return None
        for field in ("crop_size", "size") if self.settings.get("do_center_crop") else ("size",):
            sides = _sides(self.settings.get(field))
            if size := min(sides) if sides else _edge(self.settings.get(field)):
                return size
        return None

    def geometry(self, patch_size: int) -> Geometry | None:
        """How it fits photos; None where it says nothing, or makes pictures of any shape, padded or as they are."""
        if not self.settings.get("do_resize"):
            return None
        size, cut = _sides(self.settings.get("size")), _sides(self.settings.get("crop_size"))
        short = _edge(self.settings.get("size"))
        crop = cut if self.settings.get("do_center_crop") else None
        share = _positive(self.settings.get("crop_pct"))
        if share and short and str(self.settings.get("image_processor_type")).startswith("ConvNext"):
            squash = short >= SQUASHED_FROM
            longer = short if squash else int(short / share)
            resize, crop = (longer, longer), crop or (short, short)
        elif size:
            squash, resize, crop = True, size, crop or size
        elif short and crop:
            squash, resize = False, (short, short)
        else:
            return None
        if resize[0] < crop[0] or resize[1] < crop[1] or min(crop) < patch_size:
            return None
        read = (crop[0] - crop[0] % patch_size, crop[1] - crop[1] % patch_size)
        return Geometry(resize, crop, read, squash, "transformers")

    def difference_note(self, geometry: Geometry | None, usual: tuple[Colour, Colour]) -> tuple[str, ...]:
        """A sentence where its pictures differ from those made here; none where they are the same.

        geometry: what was made of it. usual: as for normalisation().
        """
        if self.library is None:
            return ()
        if geometry is not None and self._agrees(geometry, usual):
            return ()
        return (
            f"What {self.file} asks for can't all be done here: transformers' own pipeline gives other probabilities.",
        )

    def _agrees(self, geometry: Geometry, usual: tuple[Colour, Colour]) -> bool:
        """Whether both give the same pixels for a picture of noise, as far as the model reads it."""
        noise = np.random.default_rng(0).integers(0, 256, (PROBE[1] // 5, PROBE[0] // 5, 3), dtype=np.uint8)
        picture = Image.fromarray(noise).resize(PROBE, Image.Resampling.BICUBIC)
        try:
            theirs = self.library(images=picture, return_tensors="pt")["pixel_values"][0]
        except BROKEN:
            return False
        rows, cols = geometry.input
        ours = to_pixels(geometry.apply(picture, self.interpolation), *self.normalisation(usual))[0]
        if tuple(theirs.shape[1:]) != geometry.crop:
            return False
        return float((theirs[:, :rows, :cols] - ours).abs().mean()) <= ALIKE * float(ours.std())


NO_PROCESSOR = Processor({})


def read_processor(folder: Path, name: str | None = None) -> Processor:
    """What a folder says of its pictures, read by transformers itself.

    Where transformers can't use it, only the colours in it count, with a note. Raises CheckpointError for damage.
    name: what errors call the folder; by default its own.
    """
    file, stored = _stored(folder, name or folder.name)
    if stored is None:
        return NO_PROCESSOR
    from transformers import AutoImageProcessor  # seconds of import: only where such a model is asked for

    try:
        processor: Any = AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        says_size = bool(stored.keys() & {"size", "crop_size"})
        return Processor(processor.to_dict(), says_size=says_size, library=processor, file=file)
    except BROKEN as error:
        note = f"transformers can't use {file} ({first_line(error)}): only its colours are used, if it has any."
        colours = {key: stored[key] for key in COLOURS if key in stored}
        settings = {"do_normalize": True, "do_rescale": True, **colours} if colours else {}
        return Processor(settings, (note,), says_size=False, file=file)


def _stored(folder: Path, name: str) -> tuple[str, dict[str, Any] | None]:
    """The file that counts, and the image processor's settings in it, bounded in size and depth; None without any."""
    if (folder / WHOLE).is_file():
        inside = read_json(folder / WHOLE, name).get("image_processor")
        if isinstance(inside, dict):
            return WHOLE, inside
    return FILE, read_json(folder / FILE, name) if (folder / FILE).is_file() else None


def _divide(values: Colour, factor: float) -> Colour:
    red, green, blue = values
    return red / factor, green / factor, blue / factor


def _positive(value: Any) -> float | None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if number and 0 < value < math.inf else None


def _side(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= LARGEST else None


def _sides(size: Any) -> tuple[int, int] | None:
    if not isinstance(size, dict):
        return None
    height, width = _side(size.get("height")), _side(size.get("width"))
    return (height, width) if height and width else None


def _edge(size: Any) -> int | None:
    return _side(size.get("shortest_edge")) if isinstance(size, dict) and not size.get("longest_edge") else None
