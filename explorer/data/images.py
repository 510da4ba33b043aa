"""Open any picture a person may have, as the upright 8-bit RGB image they would see in a viewer."""

import base64
import io
import os
import struct
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from os import PathLike
from pathlib import Path
from typing import IO, TypeVar

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError
from PIL.TiffImagePlugin import BITSPERSAMPLE, SAMPLEFORMAT, SAMPLESPERPIXEL, ImageFileDirectory_v2

from explorer.data.decoding import decode_rgb, decoding_bytes, room_for
from explorer.errors import ImageError

Decoded = TypeVar("Decoded")
ImageSource = str | PathLike[str] | bytes | IO[bytes] | Image.Image | np.ndarray

# Pillow knows many more formats; each is a decoder that an upload could attack, so only those people use are allowed.
# (MPO, the two-picture JPEG of some cameras, comes in through JPEG.)
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "PPM")
READABLE = "JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF and PPM files work"
MAX_PIXELS = 100_000_000
# What files that begin with an "ftyp" box say they are; phones' HEIC photos call themselves mif1, too, as AVIF may.
AVIF_BRANDS = {b"avif", b"avis"}
HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"mif2", b"msf1"}

SAMPLE_KINDS = {1: "whole", 2: "signed", 3: "float"}  # of a TIFF's pixels

THUMBNAIL_SIDE, THUMBNAIL_LONGEST = 144, 576  # pixels of a thumbnail's short side, and at most of its long one
HEAD = 256  # bytes that tell the kind of a file
# What Pillow's decoders raise on damaged data; none of it says anything but "this file is broken".
_BROKEN = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, EOFError),
    *(MemoryError, RuntimeError, struct.error, zlib.error),
)
_TOO_MANY_PIXELS = (Image.DecompressionBombError, Image.DecompressionBombWarning)


def open_image(source: ImageSource, title: str | None = None) -> Image.Image:
    """The picture as PIL RGB: first frame, EXIF orientation applied, alpha laid on white, deep values scaled to 8 bit.

    source: a path, the bytes of a file, a binary file object, a PIL image, or an (H, W, 3) uint8 array. Of more than
    40 million pixels each side is halved. Waits while other pictures that are being decoded fill the memory for that.
    title: what errors call it; by default its file's name.
    Raises ImageError, with a sentence a person can act on, for anything else.
    """
    return open_as(source, decode_rgb, title)


def open_as(source: ImageSource, convert: Callable[[Image.Image], Decoded], title: str | None = None) -> Decoded:
    """What `convert` makes of the picture as its file holds it; safe and with the errors of open_image."""
    if isinstance(source, np.ndarray):
        return convert(_from_array(source))
    if isinstance(source, Image.Image):
        return _decode(source, "The image", convert)
    name = f"'{title}'" if title else _name(source)
    image = _open(source, name)
    with room_for(decoding_bytes(image)):
        with image:
            picture = _decode(image, name, convert)
        del image  # its pixels go before the room for them does
    return picture


def thumbnail(image: Image.Image) -> bytes:
    """A small JPEG of an RGB picture, of the same shape."""
    scale = min(THUMBNAIL_SIDE / min(image.size), THUMBNAIL_LONGEST / max(image.size))
    size = (max(1, round(scale * image.width)), max(1, round(scale * image.height)))
    file = io.BytesIO()
    image.resize(size, reducing_gap=2.0).save(file, "JPEG", quality=80)
    return file.getvalue()


def jpeg_uri(jpeg: bytes) -> str:
    """The bytes of a JPEG as a data: URI."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def png_uri(image: Image.Image, compress_level: int = 1) -> str:
    """A picture as a data: URI of a PNG; compress_level: from 1, quick, to 9, small."""
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=compress_level)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _from_array(array: np.ndarray) -> Image.Image:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise ImageError(
            f"An image array must be (height, width, 3) uint8 and not empty, but this is {array.shape} {array.dtype}."
        )
    return Image.fromarray(np.ascontiguousarray(array), "RGB")


def _name(source: str | PathLike[str] | bytes | IO[bytes]) -> str:
    """What messages call the source: its quoted file name where it has one."""
    path = source if isinstance(source, (str, PathLike)) else getattr(source, "name", None)
    return f"'{Path(path).name}'" if isinstance(path, (str, PathLike)) else "The image"


def _open(source: str | PathLike[str] | bytes | IO[bytes], name: str) -> Image.Image:
    """Read the header only; pixels are decoded later, after the size was checked."""
    if not isinstance(source, (str, PathLike, bytes, bytearray, memoryview)) and not hasattr(source, "read"):
        raise ImageError(
            f"An image must be a path, bytes, a file, a PIL image or an array, but this is a {type(source).__name__}."
        )
    if isinstance(source, (bytes, bytearray, memoryview)):
        source = io.BytesIO(source)
    if isinstance(source, (str, PathLike)) and os.path.exists(source) and not os.path.isfile(source):
        what = "a folder; give an image file" if os.path.isdir(source) else "a pipe or a device; give an image file"
        raise ImageError(f"{name} is {what}.")
    try:
        return Image.open(source, formats=FORMATS)
    except UnidentifiedImageError as error:
        raise ImageError(_why_unidentified(source, name)) from error
    except FileNotFoundError as error:
        raise ImageError(f"There is no image file {name}; check the path.") from error
    except _TOO_MANY_PIXELS as error:
        raise ImageError(_too_large(name)) from error
    except _BROKEN as error:
        raise ImageError(_broken(name, error)) from error


def _decode(image: Image.Image, name: str, convert: Callable[[Image.Image], Decoded]) -> Decoded:
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(_too_large(name, image.size))
    if image.width < 1 or image.height < 1:
        raise ImageError(
            f"{name} has no pixels ({image.width} x {image.height}); use an image of at least 1 x 1 pixel."
        )
    try:
        return convert(image)
    except _TOO_MANY_PIXELS as error:
        raise ImageError(_too_large(name)) from error
    except (*_BROKEN, ImageCms.PyCMSError) as error:
        raise ImageError(_broken(name, error)) from error


def _too_large(name: str, size: tuple[int, int] | None = None) -> str:
    shape = f"{size[0]} x {size[1]}, " if size else ""
    return f"{name} is too large ({shape}over {MAX_PIXELS // 1_000_000} million pixels); make it smaller and try again."


def _broken(name: str, error: BaseException) -> str:
    return f"{name} is damaged or cut short and can't be decoded ({error}); export or copy it again."


def _why_unidentified(source: str | PathLike[str] | IO[bytes], name: str) -> str:
    head = _head(source)
    if not head:
        return f"{name} is empty (0 bytes); {READABLE}."
    if head[4:8] == b"ftyp":
        return _why_not_avif(head, name)
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return f"{name} is a zip archive, not an image; {READABLE}."
    if head[:4] in (b"II*\0", b"MM\0*"):
        return _why_not_tiff(source, name)
    return f"{name} isn't an image of a kind that can be read here; {READABLE}."


def _why_not_avif(head: bytes, name: str) -> str:
    """Of a file that begins with an "ftyp" box: its size, "ftyp", the main brand, a version, then all brands."""
    box = head[8 : int.from_bytes(head[:4], "big")]
    brands = {box[:4], *(box[at : at + 4] for at in range(8, len(box), 4))}
    if brands & AVIF_BRANDS:
        return f"{name} is an AVIF photo, but damaged or cut short; export or copy it again."
    if brands & HEIC_BRANDS:
        return f"{name} is a HEIC photo, the kind that iPhones take, which can't be read here; export it as JPEG."
    if b"crx " in brands:
        return f"{name} is a camera's raw file, which can't be read here; export it as JPEG."
    return f"{name} is a video or another kind of file, not an image; {READABLE}."


def _why_not_tiff(source: str | PathLike[str] | IO[bytes], name: str) -> str:
    """Of a TIFF that Pillow doesn't know: what its pixels are made of."""
    try:
        with nullcontext(source) if not isinstance(source, (str, PathLike)) else open(source, "rb") as file:
            file.seek(0)
            tags = ImageFileDirectory_v2(file.read(8))
            file.seek(tags.next)
            tags.load(file)
            bits, kind = tags[BITSPERSAMPLE][0], SAMPLE_KINDS.get(tags.get(SAMPLEFORMAT, (1,))[0], "unusual")
            channels = int(tags.get(SAMPLESPERPIXEL, 1))
    except _BROKEN:
        return f"{name} is damaged or cut short and can't be decoded; export or copy it again."
    plural = "s" if channels > 1 else ""
    return (
        f"{name} holds {channels} channel{plural} of {bits}-bit {kind} numbers, which can't be read here; "
        "export it with 8 bits per channel."
    )


def _head(source: str | PathLike[str] | IO[bytes]) -> bytes:
    if isinstance(source, (str, PathLike)):
        with open(source, "rb") as file:
            return file.read(HEAD)
    source.seek(0)
    return source.read(HEAD)
