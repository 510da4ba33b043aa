"""A drawing of pictures, lines and text in points, written as SVG or PDF with text that stays text."""

import zlib
from dataclasses import dataclass
from functools import cache
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from PIL import Image, ImageFont

from explorer.data.images import png_uri
from explorer.rendering.letters import outlines, spell_in_ascii

FIRST, LAST = 32, 126  # characters that the embedded font has; others are drawn as outlines
ANCHORS = {"start": 0.0, "middle": 0.5, "end": 1.0}


@dataclass(frozen=True)
class Picture:
    """A raster image; x, y is its upper left corner."""

    image: Image.Image
    x: float
    y: float
    width: float
    height: float
    smooth: bool = True


@dataclass(frozen=True)
class Text:
    """One line; y is its baseline, x its start, middle or end."""

    text: str
    x: float
    y: float
    size: float
    anchor: str = "start"
    grey: float = 0.0  # 0 black to 1 white


@dataclass(frozen=True)
class Line:
    """A line through points (x, y), or the area that it encloses where it is filled."""

    points: tuple[tuple[float, float], ...]
    colour: tuple[int, int, int] = (0, 0, 0)  # RGB, 0 to 255
    width: float = 0.75
    dash: tuple[float, ...] = ()  # lengths of strokes and gaps
    filled: bool = False


Item = Picture | Text | Line


@dataclass(frozen=True)
class Drawing:
    """A page of width x height points (1/72 inch); y grows downwards."""

    width: float
    height: float
    items: tuple[Item, ...]
    title: str
    settings: str  # kept in the file's metadata

    def svg(self) -> bytes:
        """An SVG file with the pictures inside."""
        size = f'width="{self.width:g}pt" height="{self.height:g}pt" viewBox="0 0 {self.width:g} {self.height:g}"'
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {size}>',
            f"<title>{escape(self.title)}</title>",
            f"<desc>{escape(self.settings)}</desc>",
            '<rect width="100%" height="100%" fill="white"/>',
            '<g font-family="Helvetica, Arial, sans-serif">',
            *map(_svg_item, self.items),
            "</g></svg>\n",
        ]
        return "\n".join(lines).encode()

    def pdf(self) -> bytes:
        """A PDF file of one page; its font is embedded, as publishers ask."""
        writer = _Pdf()
        descriptor, font, names, content = _font_objects(writer), writer.reserve(), [], []
        writer.fill(font, _font_dictionary(descriptor))
        for item in self.items:
            if isinstance(item, Text):
                content.append(_pdf_text(item, self.height))
                continue
            if isinstance(item, Line):
                content.append(_pdf_stroke(item, self.height))
                continue
            names.append(f"/I{len(names)} {_pdf_image(writer, item)} 0 R")
            bottom = self.height - item.y - item.height
            content.append(
                f"q {item.width:.3f} 0 0 {item.height:.3f} {item.x:.3f} {bottom:.3f} cm /I{len(names) - 1} Do Q"
            )
        page, pages = writer.reserve(), writer.reserve()
        stream = writer.stream("\n".join(content).encode("latin-1"))
        resources = f"<< /Font << /F {font} 0 R >> /XObject << {' '.join(names)} >> >>"
        box = f"[0 0 {self.width:g} {self.height:g}]"
        writer.fill(
            page,
            f"<< /Type /Page /Parent {pages} 0 R /MediaBox {box} /Resources {resources} /Contents {stream} 0 R >>",
        )
        writer.fill(pages, f"<< /Type /Pages /Kids [{page} 0 R] /Count 1 >>")
        info = writer.add(f"<< /Title {_pdf_string(self.title)} /Subject {_pdf_string(self.settings)} >>")
        return writer.finish(root=writer.add(f"<< /Type /Catalog /Pages {pages} 0 R >>"), info=info)


def _svg_item(item: Item) -> str:
    if isinstance(item, Line):
        return _svg_line(item)
    return _svg_picture(item) if isinstance(item, Picture) else _svg_text(item)


def _svg_line(item: Line) -> str:
    points, colour = " ".join(f"{x:g},{y:g}" for x, y in item.points), "rgb({},{},{})".format(*item.colour)
    if item.filled:
        return f'<polygon points="{points}" fill="{colour}"/>'
    dash = f' stroke-dasharray="{" ".join(f"{length:g}" for length in item.dash)}"' if item.dash else ""
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{item.width:g}"{dash}/>'


def _pdf_stroke(item: Line, page_height: float) -> str:
    path = _pdf_path(np.array([(x, page_height - y) for x, y in item.points])).removesuffix(" h")
    colour = " ".join(f"{channel / 255:.3f}" for channel in item.colour)
    if item.filled:
        return f"q {colour} rg\n{path} h\nf\nQ"
    dash = " ".join(f"{length:g}" for length in item.dash)
    return f"q {colour} RG {item.width:g} w 1 j [{dash}] 0 d\n{path}\nS\nQ"


def _svg_picture(item: Picture) -> str:
    link = png_uri(item.image, compress_level=6)
    box = f'x="{item.x:g}" y="{item.y:g}" width="{item.width:g}" height="{item.height:g}"'
    rendering = "" if item.smooth else ' image-rendering="pixelated"'
    # xlink:href is for the older programs that figures are edited in.
    return f'<image {box} preserveAspectRatio="none"{rendering} href="{link}" xlink:href="{link}"/>'


def _svg_text(item: Text) -> str:
    place = f'x="{item.x:g}" y="{item.y:g}" font-size="{item.size:g}" text-anchor={quoteattr(item.anchor)}'
    shade = round(item.grey * 255)
    return f'<text {place} fill="rgb({shade},{shade},{shade})">{escape(item.text)}</text>'


@cache
def _font() -> ImageFont.FreeTypeFont:
    """Aileron (CC0), which comes inside Pillow, at 1000 units an em."""
    font = ImageFont.load_default(1000)
    assert isinstance(font, ImageFont.FreeTypeFont)  # Pillow's wheels have FreeType
    return font


def _in_font(text: str) -> bool:
    return all(FIRST <= ord(c) <= LAST for c in text)


def _pdf_text(item: Text, page_height: float) -> str:
    """The line in the embedded font; with other letters as outlines, or spelled, and its text to search and copy."""
    if _in_font(item.text):
        return _pdf_line(item, item.text, page_height)
    shape, words = outlines(item.text), spell_in_ascii(item.text)
    if shape is None:
        drawn = _pdf_line(item, words, page_height)
    else:
        width, lines = shape
        left, baseline = item.x - width * item.size * ANCHORS[item.anchor], page_height - item.y
        path = "\n".join(_pdf_path(line * item.size + (left, baseline)) for line in lines)
        unseen = _pdf_line(item, words, page_height, "3 Tr ")  # programs that read text look for some inside
        drawn = f"q {item.grey:g} g\n{path}\nf*\n{unseen}\nQ"
    return f"/Span << /ActualText {_pdf_string(item.text)} >> BDC\n{drawn}\nEMC"


def _pdf_path(points: np.ndarray) -> str:
    """A closed line through points (n, 2)."""
    return " ".join(f"{x:.3f} {y:.3f} {'l' if place else 'm'}" for place, (x, y) in enumerate(points)) + " h"


def _pdf_line(item: Text, text: str, page_height: float, mode: str = "") -> str:
    left = item.x - _font().getlength(text) / 1000 * item.size * ANCHORS[item.anchor]
    place = f"{left:.3f} {page_height - item.y:.3f} Td"
    return f"BT {item.grey:g} g {mode}/F {item.size:g} Tf {place} {_pdf_string(text)} Tj ET"


def _pdf_string(text: str) -> str:
    """A PDF text string: ASCII as it is, anything else in UTF-16 with its byte order mark (ISO 32000, 7.9.2.2)."""
    if not _in_font(text):
        return f"<FEFF{text.encode('utf-16-be', 'surrogatepass').hex().upper()}>"
    escaped = text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
    return f"({escaped})"


def _pdf_image(writer: "_Pdf", item: Picture) -> int:
    pixels = np.array(item.image.convert("RGB"))
    height, width = pixels.shape[:2]
    smooth = " /Interpolate true" if item.smooth else ""
    kind = f"/Type /XObject /Subtype /Image /Width {width} /Height {height} /ColorSpace /DeviceRGB /BitsPerComponent 8"
    return writer.stream(pixels.tobytes(), kind + smooth)


def _font_objects(writer: "_Pdf") -> int:
    """The number of the font descriptor."""
    data = bytes(_font().font_bytes)
    file = writer.stream(data, f"/Length1 {len(data)}")
    ascent, descent = _font().getmetrics()
    return writer.add(
        f"<< /Type /FontDescriptor /FontName /Aileron-Regular /Flags 32 /FontBBox [-200 {-descent} 1200 {ascent}] "
        f"/ItalicAngle 0 /Ascent {ascent} /Descent {-descent} /CapHeight 700 /StemV 80 /FontFile2 {file} 0 R >>"
    )


def _font_dictionary(descriptor: int) -> str:
    widths = " ".join(f"{_font().getlength(chr(code)):g}" for code in range(FIRST, LAST + 1))
    return (
        f"<< /Type /Font /Subtype /TrueType /BaseFont /Aileron-Regular /FirstChar {FIRST} /LastChar {LAST} "
        f"/Widths [{widths}] /FontDescriptor {descriptor} 0 R /Encoding /WinAnsiEncoding >>"
    )


class _Pdf:
    """Numbered objects and the table that says where each begins."""

    def __init__(self) -> None:
        self.objects: list[bytes] = []

    def reserve(self) -> int:
        """A number for an object that others point to before it is written."""
        self.objects.append(b"")
        return len(self.objects)

    def fill(self, number: int, text: str) -> None:
        self.objects[number - 1] = text.encode("latin-1")

    def add(self, text: str) -> int:
        number = self.reserve()
        self.fill(number, text)
        return number

    def stream(self, data: bytes, entries: str = "") -> int:
        packed = zlib.compress(data, 9)
        head = f"<< {entries} /Filter /FlateDecode /Length {len(packed)} >>\nstream\n"
        self.objects.append(head.encode("latin-1") + packed + b"\nendstream")
        return len(self.objects)

    def finish(self, root: int, info: int) -> bytes:
        file, offsets = bytearray(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"), []
        for number, body in enumerate(self.objects, start=1):
            offsets.append(len(file))
            file += b"%d 0 obj\n%b\nendobj\n" % (number, body)
        table = len(file)
        count = len(offsets) + 1
        file += b"xref\n0 %d\n0000000000 65535 f \n" % count
        file += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
        trailer = f"trailer\n<< /Size {count} /Root {root} 0 R /Info {info} 0 R >>\nstartxref\n{table}\n%%EOF\n"
        return bytes(file) + trailer.encode()
