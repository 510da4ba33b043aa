"""Decode pictures to upright 8-bit RGB, large ones reduced, within a limit of memory for all threads together."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageCms, ImageOps

from explorer import malloc

LARGE_PIXELS = 40_000_000  # pictures above this are reduced: no model sees, and no page shows, as much of them
FULL_SIZE = "full_size"  # in the info of a reduced picture: width and height before
BUDGET_BYTES = 600_000_000
_GIVEN_BACK = 200_000_000
_BAND_PIXELS = 1 << 20
_BYTES = {"1": 1, "L": 1, "P": 1, "PA": 4, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}  # a pixel; others have 4
_DECODERS_OWN = {"WEBP": 8, "AVIF": 8, "TIFF": 2}  # bytes per pixel that the decoder keeps besides
_PROGRESSIVE = 6  # bytes per pixel: such a JPEG is kept whole as coefficients until its last scan
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112


class Budget:
    """A limit of bytes in use at a time; whoever wants more waits, first come, first served."""

    def __init__(self, total: int):
        self.total, self._free = total, total
        self._line: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def spend(self, wanted: int) -> Iterator[None]:
        """Wait until so many bytes (at most all) are free, then hold them."""
        need, ticket = min(wanted, self.total), object()
        with self._changed:
            self._line.append(ticket)
            try:
                self._changed.wait_for(lambda: self._line[0] is ticket and need <= self._free)
                self._free -= need
            finally:
                self._line.remove(ticket)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._free += need
                self._changed.notify_all()


_budget = Budget(BUDGET_BYTES)  # of this process


@contextmanager
def room_for(needed: int) -> Iterator[None]:
    """Hold so many bytes of memory, or wait for them; to be left once the decoded file is forgotten."""
    with _budget.spend(needed):
        yield
        if needed > _GIVEN_BACK:
            malloc.give_back()  # Pillow's blocks of 16 MB would stay with this thread


def decode_rgb(image: Image.Image) -> Image.Image:
    """The picture as upright RGB, alpha laid on white, deep values scaled to 8 bit.

    More than LARGE_PIXELS are reduced by a whole factor; then info[FULL_SIZE] holds the size before. Raises what
    Pillow's decoders raise.
    """
    factor, size = _factor(image), image.size
    if factor > 1 and image.format in ("JPEG", "MPO"):
        image.draft(image.mode, (size[0] // factor, size[1] // factor))
    small = _whole(image) if _factor(image) == 1 else _reduce(image, factor)
    if factor > 1:
        turned = (small.width > small.height) != (size[0] > size[1])
        small.info[FULL_SIZE] = size[::-1] if turned else size
    return small


def _factor(image: Image.Image) -> int:
    """By how much both sides are divided."""
    factor = 1
    while image.width * image.height > factor**2 * LARGE_PIXELS:
        factor += 1
    return factor


def decoding_bytes(image: Image.Image) -> int:
    """Bytes that decoding an image, which is only opened yet, takes at its peak, the result included."""
    factor = _factor(image)
    pixels, kept = image.width * image.height, image.width * image.height // factor**2
    if image.format in ("JPEG", "MPO"):
        return 8 * kept + (_PROGRESSIVE * pixels if image.info.get("progressive") else 0)
    stored = _BYTES.get(image.mode, 4) + _DECODERS_OWN.get(image.format or "", 0)
    return stored * pixels + 5 * kept


def _whole(image: Image.Image) -> Image.Image:
    known_range = _grey_range(image)
    image.load()
    upright = ImageOps.exif_transpose(image)
    if _is_grey(upright):
        return _grey(upright, 1, known_range).convert("RGB")
    return _to_rgb(upright)


def _reduce(image: Image.Image, factor: int) -> Image.Image:
    """The mean of each factor x factor pixels, a band of rows at a time: the picture is there whole only once."""
    known_range = _grey_range(image)
    image.load()  # which turns a TIFF upright
    if _is_grey(image):
        small = _grey(image, factor, known_range).convert("RGB")
    else:
        small = Image.new("RGB", (-(-image.width // factor), -(-image.height // factor)))
        for top, band in _bands(image, factor):
            small.paste(_to_rgb(band).reduce(factor), (0, top // factor))
    orientation = image.getexif().get(_ORIENTATION)
    return small.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else small


def _bands(image: Image.Image, factor: int) -> Iterator[tuple[int, Image.Image]]:
    """(first row, rows) of the picture, whole multiples of factor but for the last."""
    rows = max(1, _BAND_PIXELS // image.width // factor) * factor
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _is_grey(image: Image.Image) -> bool:
    """Whether it is grey of more than 8 bits, which Pillow's own conversion clips at 255: nearly always white."""
    return image.mode == "F" or image.mode.startswith("I")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "LAB":
        return _lab_to_rgb(image)
    if image.mode == "La":  # premultiplied grey: Pillow converts it to LA and to nothing else
        image = image.convert("LA")
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    page = Image.new("RGB", rgba.size, "white")
    page.paste(rgba, mask=rgba.getchannel("A"))
    return page


def _grey_range(image: Image.Image) -> tuple[float, float] | None:
    """The values of black and white in a file of 16-bit grey, or None where the values alone must tell."""
    if image.format == "PPM" and image.mode == "I":
        return 0, 65535  # Pillow has scaled the file's own maximum to that
    if not image.mode.startswith("I;16"):
        return None
    tags = getattr(image, "tag_v2", {})  # a TIFF may hold 12-bit values in 16-bit pixels, or call 0 white
    bits, white_is_zero = int(tags.get(258, (16,))[0]), tags.get(262) == 0
    white = 2.0**bits - 1
    return (white, 0) if white_is_zero else (0, white)


def _grey(image: Image.Image, factor: int, known_range: tuple[float, float] | None) -> Image.Image:
    """Deep or float grey to 8 bit: black to white of the file's own depth, or of the range its values fill."""
    transparent = image.info.get("transparency")
    black, white = known_range or _value_range(image)
    grey = Image.new("L", (-(-image.width // factor), -(-image.height // factor)))
    for top, band in _bands(image, factor):
        values = np.array(band, dtype=np.float32)
        hidden = values == transparent if isinstance(transparent, int) else None
        values = np.nan_to_num((values - black) * (255 / (white - black)), nan=0, posinf=255, neginf=0)
        levels = np.clip(values + 0.5, 0, 255).astype(np.uint8)
        if hidden is not None:
            levels[hidden] = 255
        part = Image.fromarray(levels, "L")
        grey.paste(part if factor == 1 else part.reduce(factor), (0, top // factor))
    return grey


def _value_range(image: Image.Image) -> tuple[float, float]:
    """Black and white of values without a known depth: the smallest usual range that holds them, else their own."""
    lows, highs = [], []
    for _, band in _bands(image, 1):
        values = np.array(band, dtype=np.float32)
        finite = values[np.isfinite(values)]
        if finite.size:
            lows.append(float(finite.min()))
            highs.append(float(finite.max()))
    low, high = min(lows, default=0.0), max(highs, default=0.0)
    usual = (1.0, 255.0) if image.mode == "F" else (255.0, 65535.0)
    for white in usual:
        if low >= 0 and high <= white:
            return 0.0, white
    return low, max(high, low + 1e-6)


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    assert converted is not None  # None only with inPlace=True
    return converted
