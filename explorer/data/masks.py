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
MOST = 2_000_000_000  # a larger id is taken for this one
SHARE = 0.001  # of the pixels: a shade that holds less is an edge's
COLOURS, COVERED = 32, 0.9  # a class picture's most frequent colours cover that share; a photo's don't
FLAT = 0.8  # of the pixels of a class picture are as the one to their right
FEW = 256  # colours that a picture of exact ones has at most
SCENE, REST = 3, 0.15  # labels of a whole scene, where the background is no larger a share
ASKED = "save it with 255 for the object, 0 for the background and 128 for what is left out"

# VOC's colours in RGB: black, its 20 classes and the void.
VOC = {VOID, *((r, g, b) for r in (0, 64, 128, 192) for g in (0, 64, 128, 192) for b in (0, 128))}
Mask = np.ndarray  # (height, width) uint8 of OBJECT, LEFT_OUT and BACKGROUND


def open_mask(source: ImageSource, photo_size: tuple[int, int] | None = None) -> Image.Image:
    """The mask as a grey picture of 255 (object), 0 (background) and 128 (left out).

    Understood: grey of these values; labels from 1 on, 255 left out; ids of 16 bits; trimaps of 1, 2 and 3; colours on
    black, VOC's too, whose void is left out; palettes; cut-outs by alpha. source: as open_image's, or an array
    (height, width) of bool or numbers. photo_size: (width, height) of the photo that it must lie on. Raises ImageError
    for what is no mask, and for another shape than the photo's.
    """
    path = source if isinstance(source, (str, PathLike)) else getattr(source, "name", None)
    name = f"The mask {Path(path).name!r}" if isinstance(path, (str, PathLike)) else "The mask"
    if isinstance(source, np.ndarray) and source.ndim == 2 and source.dtype.kind in "buif":
        source = _as_image(source)
    mask = Image.fromarray(open_as(source, lambda image: _classes(_thinned(ImageOps.exif_transpose(image)), name)))
    if photo_size:
        check_shape(mask.size, photo_size, name)
    return mask


def _as_image(numbers: np.ndarray) -> Image.Image:
    if numbers.dtype == bool:
        return Image.fromarray(numbers.astype(np.uint8) * OBJECT)
    if numbers.dtype.kind == "f":
        return Image.fromarray(numbers.astype(np.float32))
    return Image.fromarray(numbers if numbers.dtype == np.uint8 else np.clip(numbers, -1, MOST).astype(np.int32))


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
    if image.mode == "F" or image.mode.startswith("I"):
        values = np.array(image)
        if values.dtype.kind == "f" and (values == np.round(values)).all():
            values = np.clip(values, -1, MOST).astype(np.int32)
        if values.dtype.kind in "iu":
            return _deep(values, name)
    if image.mode in ("1", "L", "LA"):
        return _grey(np.array(image.convert("L")), name)
    return _by_colour(image.convert("RGB") if image.mode == "RGBA" else open_image(image), name)


def _by_shade(shades: np.ndarray) -> Mask:
    return np.select([shades > SOLID, shades < CLEAR], [OBJECT, BACKGROUND], LEFT_OUT).astype(np.uint8)


def _by_label(labels: np.ndarray, name: str, void: int = 255) -> Mask:
    """0 is the background, `void` left out; a trimap, which has no 0, has 1 for the object, 2 around it, 3 between."""
    found, counts = np.unique(labels, return_counts=True)
    if found.tolist() == [1, 2, 3]:
        return np.select([labels == 1, labels == 2], [OBJECT, BACKGROUND], LEFT_OUT).astype(np.uint8)
    if not {0, void} & set(found.tolist()):
        raise ImageError(f"{name} has a label everywhere and no 0, so its background can't be told; {ASKED}.")
    _check_background(counts[(found != 0) & (found != void)], (labels == 0).mean(), labels.size, name)
    return np.select([labels == void, labels == 0], [LEFT_OUT, BACKGROUND], OBJECT).astype(np.uint8)


def _check_background(areas: np.ndarray, background: float, pixels: int, name: str) -> None:
    """Refuse the labels of a whole scene, as of streets and rooms; areas: pixels of each label."""
    labels = (areas > pixels / 100).sum()
    if labels >= SCENE and background < REST:
        raise ImageError(
            f"{name} has {labels} labels and hardly any background, as of a whole scene, so which of them is the "
            f"object can't be told; {ASKED}."
        )


def _deep(values: np.ndarray, name: str) -> Mask:
    """Whole numbers above 255: grey of 16 bits where white is most of what isn't black, else ids of flat areas."""
    if values.min() < 0:
        raise ImageError(f"{name} holds numbers below 0, which may be anything; {ASKED}.")
    if values.max() <= 255:
        return _grey(values.astype(np.uint8), name)  # as deep grey all would be black
    seen, shades = values > 0, (np.minimum(values, 65535) // 257).astype(np.uint8)
    white = (shades >= 255 - EXACT) & (values <= 65535)
    if 2 * white.sum() >= seen.sum() or not _flat(values[..., None])[seen[:, 1:]].mean() > FLAT:
        return _grey(shades, name)
    return _by_label(values, name, void=65535)


def _flat(pixels: np.ndarray) -> np.ndarray:
    """Which pixels (row, col from 1 on, channel) are as the one to their left."""
    same = np.ones((pixels.shape[0], pixels.shape[1] - 1), bool)
    for channel in np.moveaxis(pixels, 2, 0):
        same &= channel[:, 1:] == channel[:, :-1]
    return same


def _grey(shades: np.ndarray, name: str) -> Mask:
    """255, 128 and 0, with soft edges; or labels from 1 on, where 255 is left out."""
    counts = np.bincount(shades.ravel(), minlength=256)
    levels = np.arange(256)
    low, high = counts[1:CLEAR].sum(), counts[CLEAR:255].sum()
    if low > (SHARE * shades.size if counts[255] else 0) and not high:
        return _by_label(shades, name)
    known = np.abs(levels[:, None] - (BACKGROUND, LEFT_OUT, OBJECT)).min(axis=1) <= EXACT
    white = counts[255 - EXACT :].sum()
    if (counts > 0).sum() <= CLEAR:  # else every shade is there, as in a soft picture
        soft = counts[~known].sum() <= white
        areas, least = (_areas(shades), white / 10) if soft else (counts, SHARE * shades.size)
        others = levels[~known & (areas > least)]
        if len(others):
            shown = ", ".join(map(str, others[:5].tolist()))
            raise ImageError(f"{name} has the grey values {shown}, which may be classes or shades; {ASKED}.")
    if counts[~known].sum() > shades.size / 2:
        raise ImageError(f"{name} holds shades between black and white in most places, as a photo does; {ASKED}.")
    return _by_shade(shades)


def _areas(shades: np.ndarray) -> np.ndarray:
    """Pixels of each shade, (256,), that all four neighbours share: none of a soft edge."""
    middle = shades[1:-1, 1:-1]
    around = (shades[:-2, 1:-1], shades[2:, 1:-1], shades[1:-1, :-2], shades[1:-1, 2:])
    return np.bincount(middle[np.all([side == middle for side in around], axis=0)], minlength=256)


def _palette(image: Image.Image, name: str) -> Mask:
    """By index where the palette is one of labels, else by colour."""
    indexes, palette = np.array(image), np.zeros((256, 3), np.uint8)
    given = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    palette[: len(given)] = given
    coloured = np.ptp(palette[np.unique(indexes)], axis=1).max() > EXACT
    bordered = coloured and not palette[0].any() and palette[255].min() >= 255 - EXACT and (indexes == 255).any()
    if palette[:3].tolist() == LABELS or bordered or indexes.max() >= len(given):  # some have no colours at all
        return _by_label(indexes, name)
    return _by_colour(image.convert("RGB"), name)


def _by_colour(image: Image.Image, name: str) -> Mask:
    """Black is background, VOC's void and, outside VOC's colours, middle grey are left out, other colours objects."""
    pixels = np.array(image)
    red, green, blue = np.moveaxis(pixels, 2, 0)  # each by itself: NumPy is slow along so short an axis
    lightest = np.maximum(np.maximum(red, green), blue)
    if (lightest - np.minimum(np.minimum(red, green), blue)).max() <= EXACT:
        return _grey(lightest, name)
    coarse = (red >> 4).astype(np.uint16) << 8 | green & 0xF0 | blue >> 4
    areas = np.bincount(coarse.ravel())
    if np.sort(areas)[-COLOURS:].sum() < COVERED * coarse.size and not _flat(pixels).mean() > FLAT:
        raise ImageError(f"{name} holds {(areas > 0).sum()} colours, as a photo does, and no few classes; {ASKED}.")
    left_out = _near(pixels, VOID)
    exact = {colour for _, colour in image.getcolors(FEW) or ()}
    if not exact or not exact <= VOC:
        left_out |= _near(pixels, (LEFT_OUT, LEFT_OUT, LEFT_OUT))
    background = _black(pixels, lightest, (0, 0, 0) in exact)
    objects = np.bincount(coarse[~background & ~left_out])
    _check_background(objects, background.mean(), coarse.size, name)
    if not background.any():
        raise ImageError(f"{name} has a colour everywhere and no black, so its background can't be told; {ASKED}.")
    return np.select([left_out, background], [LEFT_OUT, BACKGROUND], OBJECT).astype(np.uint8)


def _black(pixels: np.ndarray, lightest: np.ndarray, exact: bool) -> np.ndarray:
    """What is dark, but for ids as colours, (12, 0, 0): beside an exact black these fill whole areas."""
    dark = lightest < DARK
    ids = dark & (lightest > 0)
    return lightest == 0 if exact and ids.any() and _flat(pixels)[ids[:, 1:]].mean() > FLAT else dark


def _near(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    near = np.ones(pixels.shape[:2], bool)
    for channel, shade in zip(np.moveaxis(pixels, 2, 0), colour, strict=True):
        near &= (channel >= max(0, shade - EXACT)) & (channel <= min(255, shade + EXACT))
    return near


def _cut_out(pixels: np.ndarray, alpha: np.ndarray, name: str) -> Mask:
    """What is opaque is the object; a black and white mask with holes could mean either and is refused."""
    solid = pixels[alpha > SOLID]
    black, white = ((solid <= EXACT).all(axis=1).mean(), (solid >= 255 - EXACT).all(axis=1).mean())
    if min(black, white) > SHARE and black + white > 0.99:
        raise ImageError(f"{name} is black and white with transparent parts, which could mean either; {ASKED}.")
    return _by_shade(alpha)
