"""Letters that the embedded font lacks: their outlines, from a font of this machine."""

import os
import sys
import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont

EM = 256  # pixels that outlines are traced at: 1,800 dots per inch of 10-point text
NEVER = "\U0010ffff"  # no letter: what a font draws for those that it lacks
FONTS = (".ttf", ".otf", ".ttc")
MOST = 2000  # font files that are looked at
# Plain and of many scripts first, so that a name never comes in an ornamental font.
PREFERRED = ("dejavusans", "notosans-regular", "liberationsans-regular", "arial", "helvetica", "segoeui", "notosanscjk")


def outlines(text: str) -> tuple[float, list[Float[np.ndarray, "point 2"]]] | None:
    """(width, closed lines) in ems from the start of the baseline, y upwards; None without a font."""
    font = font_with(text)
    if font is None:
        return None
    left, top, right, bottom = (round(side) for side in font.getbbox(text, anchor="ls"))
    picture = Image.new("L", (right - left + 2, bottom - top + 2))
    ImageDraw.Draw(picture).text((1 - left, 1 - top), text, fill=255, font=font, anchor="ls")
    inside = (np.array(picture) > 127).astype(np.uint8)
    lines, _ = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    corner = np.array([left - 0.5, top - 0.5])
    points = [(line[:, 0] + corner) * (1, -1) / EM for line in lines if len(line) > 2]
    return font.getlength(text) / EM, points


def spell_in_ascii(text: str) -> str:
    """The text in ASCII: letters without their accents, others by their number, so that none passes for another."""
    plain = (c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return "".join(plain).encode("ascii", "backslashreplace").decode()


@cache
def font_with(text: str) -> ImageFont.FreeTypeFont | None:
    """The first font of this machine that has every letter of the text."""
    for path in font_files():
        try:
            font = ImageFont.truetype(path, EM)
            lacking = _draw(font, NEVER)
            if all(_draw(font, letter) != lacking for letter in set(text) if not letter.isspace()):
                return font
        except (OSError, ValueError):  # a bitmap font, or one that is damaged
            continue
    return None


def _draw(font: ImageFont.FreeTypeFont, letter: str) -> bytes:
    picture = Image.new("1", (2 * EM, 2 * EM))
    ImageDraw.Draw(picture).text((EM / 2, 3 * EM / 2), letter, fill=1, font=font, anchor="ls")
    return picture.tobytes()


@cache
def font_files() -> tuple[Path, ...]:
    files = (path for folder in _folders() for path in folder.rglob("*"))
    return tuple(sorted((path for path in files if path.suffix.lower() in FONTS), key=_rank)[:MOST])


def _rank(path: Path) -> tuple[int, str]:
    name = path.stem.lower()
    return next((place for place, known in enumerate(PREFERRED) if name == known), len(PREFERRED)), name


def _folders() -> Iterator[Path]:
    """Where the system keeps its fonts."""
    if sys.platform == "win32":
        yield Path(os.environ.get("WINDIR", r"C:\Windows")) / "Fonts"
    elif sys.platform == "darwin":
        yield from (Path("/System/Library/Fonts"), Path("/Library/Fonts"), Path.home() / "Library/Fonts")
    else:
        yield from (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"))
        yield from (Path.home() / ".local/share/fonts", Path.home() / ".fonts")
