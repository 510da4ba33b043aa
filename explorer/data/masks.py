"""Read a mask as people make them: grey, labels, colours, a palette or a cut-out; or refuse it with the reason."""

import math
from os import PathLike
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from explorer.data.decoding import LARGE_PIXELS
from explorer.data.images import ImageSource, open_as, open_image
from explorer.errors import ImageError

OBJECT, LEFT_OUT, BACKGROUND = 255, 128, 0
CLEAR, SOLID = 64, 191  # shades below and above are background and object; between them, neither
DARK = 32  # the lightest channel of a colour that JPEG may have made of black
EXACT = 8  # how far a grey may be from the one it stands for
SLACK = 0.03  # of the shape of a mask beside its photo's: one of them may have been made smaller, in whole pixels
LABELS = [[0, 0, 0], [128, 0, 0], [0, 128, 0]]  # how VOC's palette begins, which DAVIS and labelme use too
VOID = (224, 224, 192)  # VOC's colour of index 255, which is left out
SHARE = 0.001  # of the pixels: a shade that holds less is an edge's
COLOURS, COVERED = 32, 0.9  # a class picture's most frequent colours cover that share; a photo's don't
ASKED = "save it with 255 for the object, 0 for the background and 128 for what is left out"

# VOC's colours in RGB: black, its 20 classes and the void.
VOC = {VOID, *((r, g, b) for r in (0, 64, 128, 192) for g in (0, 64, 128, 192) for b in (0, 128))}
Mask = np.ndarray  # (height, width) uint8 of OBJECT, LEFT_OUT and BACKGROUND


def open_mask(source: ImageSource, photo_size: tuple[int, int] | None = None) -> Image.Image:
    """The mask as a grey picture of 255 (object), 0 (background) and 128 (left out).

    Understood: grey of these values; labels from 1 on, 255 left out; trimaps of 1, 2 and 3; colours on black, VOC's
    too, whose void is left out; palettes; cut-outs by alpha. source: as open_image's, or an array (height, width) of
    bool or uint8. photo_size: (width, height) of the photo that it must lie on. Raises ImageError for what is no
    mask, and for another shape than the photo's.
    """
    path = source if isinstance(source, (str, PathLike)) else getattr(source, "name", None)
    name = f"The mask {Path(path).name!r}" if isinstance(path, (str, PathLike)) else "The mask"
    if isinstance(source, np.ndarray) and source.ndim == 2:
        source = Image.fromarray(source.astype(np.uint8) * 255 if source.dtype == bool else source)
    mask = Image.fromarray(open_as(source, lambda image: _classes(_thinned(ImageOps.exif_transpose(image)), name)))
    if photo_size:
        check_shape(mask.size, photo_size, name)
    return mask


def check_shape(mask: tuple[int, int], photo: tuple[int, int], name: str = "The mask") -> None:
    """Raise ImageError where a mask of that (width, height) can't lie on the photo; it may be larger or smaller."""
    stretch = (mask[0] / mask[1]) / (photo[0] / photo[1])
    if abs(stretch - 1) > SLACK:
        raise ImageError(
            f"{name} has {mask[0]} × {mask[1]} pixels and the photo {photo[0]} × {photo[1]}: it must have the photo's "
            "shape to lie on it; give this photo's mask."
        )


def _thinned(image: Image.Image) -> Image.Image:
    """Of a mask of more than LARGE_PIXELS, every second or third pixel of every such row: a mean would be no class."""
    step = math.ceil(math.sqrt(image.width * image.height / LARGE_PIXELS))
    small = (-(-image.width // step), -(-image.height // step)) if step > 1 else image.size
    return image if small == image.size else image.resize(small, Image.Resampling.NEAREST)


def _classes(image: Image.Image, name: str) -> Mask:
    if image.has_transparency_data:
        alpha = np.array(image.convert("RGBA").getchannel("A"))
        if alpha.min() < CLEAR and alpha.max() > SOLID:  # else it says nothing
            return _cut_out(np.array(image.convert("RGB")), alpha, name)
    if image.mode == "P":
        return _palette(image, name)
    if image.mode.startswith("I") and np.array(image).max() <= 255:
        return _grey(np.array(image).astype(np.uint8), name)  # labels in deep pixels: as deep grey all would be black
    if image.mode in ("1", "L", "LA"):
        return _grey(np.array(image.convert("L")), name)
    return _by_colour(image.convert("RGB") if image.mode == "RGBA" else open_image(image), name)


def _by_shade(shades: np.ndarray) -> Mask:
    return np.select([shades > SOLID, shades < CLEAR], [OBJECT, BACKGROUND], LEFT_OUT).astype(np.uint8)


def _by_label(labels: np.ndarray, name: str) -> Mask:
    """0 is the background, 255 left out; a trimap, which has no 0, has 1 for the object, 2 around it, 3 between."""
    found = set(np.unique(labels).tolist())
    if found == {1, 2, 3}:
        return np.select([labels == 1, labels == 2], [OBJECT, BACKGROUND], LEFT_OUT).astype(np.uint8)
    if not found & {0, 255}:
        raise ImageError(f"{name} has a label everywhere and no 0, so its background can't be told; {ASKED}.")
    return np.select([labels == 255, labels == 0], [LEFT_OUT, BACKGROUND], OBJECT).astype(np.uint8)


def _grey(shades: np.ndarray, name: str) -> Mask:
    """255, 128 and 0, with soft edges; or labels from 1 on, where 255 is left out."""
    counts = np.bincount(shades.ravel(), minlength=256)
    levels = np.arange(256)
    low, high = counts[1:CLEAR].sum(), counts[CLEAR:255].sum()
    if low > (SHARE * shades.size if counts[255] else 0) and not high:
        return _by_label(shades, name)
    known = np.abs(levels[:, None] - (BACKGROUND, LEFT_OUT, OBJECT)).min(axis=1) <= EXACT
    soft = counts[~known].sum() <= counts[255 - EXACT :].sum() or (counts > 0).sum() > CLEAR
    others = levels[~known & (counts > SHARE * shades.size)]
    if len(others) and not soft:
        shown = ", ".join(map(str, others[:5].tolist()))
        raise ImageError(f"{name} has the grey values {shown}, which may be classes or shades; {ASKED}.")
    if counts[~known].sum() > shades.size / 2:
        raise ImageError(f"{name} holds shades between black and white in most places, as a photo does; {ASKED}.")
    return _by_shade(shades)


def _palette(image: Image.Image, name: str) -> Mask:
    """By index where the palette is one of labels, else by colour."""
    indexes, palette = np.array(image), np.zeros((256, 3), np.uint8)
    given = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    palette[: len(given)] = given
    coloured = np.ptp(palette[np.unique(indexes)], axis=1).max() > EXACT
    bordered = coloured and not palette[0].any() and palette[255].min() >= 255 - EXACT and (indexes == 255).any()
    if palette[:3].tolist() == LABELS or bordered:
        return _by_label(indexes, name)
    return _by_colour(image.convert("RGB"), name)


def _by_colour(image: Image.Image, name: str) -> Mask:
    """Black is background, VOC's void and, outside VOC's colours, middle grey are left out, other colours objects."""
    pixels = np.array(image)
    lightest = pixels.max(axis=2)
    if (lightest - pixels.min(axis=2)).max() <= EXACT:
        return _grey(lightest, name)
    coarse = (pixels >> 4).astype(np.uint16) @ np.array([256, 16, 1], np.uint16)
    counts = np.sort(np.bincount(coarse.ravel()))[::-1]
    if counts[:COLOURS].sum() < COVERED * coarse.size:
        raise ImageError(f"{name} holds {(counts > 0).sum()} colours, as a photo does, and no few classes; {ASKED}.")
    left_out = _near(pixels, VOID)
    exact = image.getcolors(len(VOC))
    if not exact or not {colour for _, colour in exact} <= VOC:
        left_out |= _near(pixels, (LEFT_OUT, LEFT_OUT, LEFT_OUT))
    return np.select([left_out, lightest < DARK], [LEFT_OUT, BACKGROUND], OBJECT).astype(np.uint8)


def _near(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    low, high = (np.clip(np.array(colour) + step, 0, 255).astype(np.uint8) for step in (-EXACT, EXACT))
    return np.all((pixels >= low) & (pixels <= high), axis=2)


def _cut_out(pixels: np.ndarray, alpha: np.ndarray, name: str) -> Mask:
    """What is opaque is the object; a black and white mask with holes could mean either and is refused."""
    solid = pixels[alpha > SOLID]
    black, white = ((solid <= EXACT).all(axis=1).mean(), (solid >= 255 - EXACT).all(axis=1).mean())
    if min(black, white) > SHARE and black + white > 0.99:
        raise ImageError(f"{name} is black and white with transparent parts, which could mean either; {ASKED}.")
    return _by_shade(alpha)
