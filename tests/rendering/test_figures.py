"""Figures as SVG and PDF: the pictures and words in the files are the recording's."""

import base64
import io
import json
import re
import zlib
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

import explorer
from explorer.errors import QueryError
from explorer.rendering import letters
from explorer.rendering.figures import figure, title
from explorer.rendering.letters import outlines, spell_in_ascii
from explorer.rendering.vector import Drawing, Picture, Text
from explorer.rendering.view import View, paint
from tests.tiny import photo, tiny_model
from tests.views import changed, view_of

VIEW = view_of(layer=1, query=(1, 3))
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def recording():
    return explorer.record(tiny_model(), photo())


def svg_of(drawing):
    root = ElementTree.fromstring(drawing.svg())
    links = [image.get("href") or "" for image in root.iter(f"{SVG}image")]
    pictures = [Image.open(io.BytesIO(base64.b64decode(link.split(",")[1]))) for link in links]
    return root, pictures, [text.text for text in root.iter(f"{SVG}text")]


class PdfFile:
    """The objects of a PDF, found through its own cross-reference table."""

    def __init__(self, data):
        start = int(re.findall(rb"startxref\n(\d+)", data)[0])
        rows = re.findall(rb"(\d{10}) 00000 n ", data[start:])
        assert data[start:].startswith(b"xref\n0 %d\n" % (len(rows) + 1))
        self.objects = {}
        for number, offset in enumerate(map(int, rows), start=1):
            assert data[offset:].startswith(b"%d 0 obj\n" % number)
            self.objects[number] = data[offset : data.index(b"\nendobj\n", offset)]

    def streams(self, word):
        """Unpacked streams whose dictionary holds a word."""
        for body in self.objects.values():
            head, found, rest = body.partition(b"stream\n")
            if found and word in head:
                yield head, zlib.decompress(rest.removesuffix(b"\nendstream"))

    def images(self):
        for head, data in self.streams(b"/Subtype /Image"):
            width, height = (int(re.findall(rb"/%b (\d+)" % side, head)[0]) for side in (b"Width", b"Height"))
            yield np.frombuffer(data, np.uint8).reshape(height, width, 3)


def tiles_expected(recording):
    heads = recording.heads(1, (1, 3))
    maps = [*heads, heads.mean(axis=0)]
    zoom = 5  # six pictures in 504 points: 77.8 points each, 324 dots for 64 pixels
    image = recording.image.resize((64 * zoom, 64 * zoom), Image.Resampling.BICUBIC)
    return [np.array(image), *(np.array(paint(VIEW.look, image, m, float(m.min()), float(m.max()))) for m in maps)]


def test_svg_holds_the_photo_every_head_and_the_mean(recording):
    _root, pictures, words = svg_of(figure(VIEW, recording))
    expected = tiles_expected(recording)
    assert len(pictures) == len(expected) == 6
    for picture, tile in zip(pictures, expected, strict=True):
        np.testing.assert_array_equal(np.array(picture.convert("RGB")), tile)
    assert words[0] == "tiny: attention of layer 1 from patch (1, 3)"
    assert words[1:7] == ["image", "head 0", "head 1", "head 2", "head 3", "mean"]


def test_tiles_over_the_photo_are_sharp_and_keep_its_aspect():
    whole = photo(400, 200)
    rec = explorer.record(tiny_model(), whole, fit="squash")
    drawing = figure(changed(VIEW, fit="squash"), rec, photo=whole)
    tile = drawing.items[1]
    assert isinstance(tile, Picture) and tile.width / tile.height == pytest.approx(2)
    dots = round(tile.width / 72 * 300)
    expected = whole.resize((dots, round(dots / 2)), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(np.array(tile.image), np.array(expected))


def test_pdf_holds_the_same_pictures_and_words(recording):
    drawing = figure(VIEW, recording)
    file = PdfFile(drawing.pdf())
    for picture, tile in zip(file.images(), tiles_expected(recording), strict=True):
        np.testing.assert_array_equal(picture, tile)
    (_, content), *_ = [stream for stream in file.streams(b"Length") if b" Tj ET" in stream[1]]
    assert b"(tiny: attention of layer 1 from patch \\(1, 3\\)) Tj" in content and b"(head 3) Tj" in content


def test_pdf_embeds_its_font(recording):
    file = PdfFile(figure(VIEW, recording).pdf())
    fonts = [data for head, data in file.streams(b"/Length1") if f"/Length1 {len(data)}".encode() in head]
    assert len(fonts) == 1 and fonts[0][:4] == b"\x00\x01\x00\x00"
    widths = next(re.search(rb"/Widths \[(.*?)\]", body) for body in file.objects.values() if b"/Widths" in body)
    assert widths and len(widths.group(1).split()) == 126 - 32 + 1


def test_every_setting_travels_in_the_file(recording):
    root, _, _ = svg_of(figure(VIEW, recording))
    settings = root.find(f"{SVG}desc")
    assert settings is not None and View.from_json(settings.text or "") == VIEW


def test_all_layers_times_all_heads(recording):
    _root, pictures, words = svg_of(figure(VIEW, recording, of="layers"))
    assert len(pictures) == 3 * 5 and words[1] == "layer 0, head 0" and words[15] == "layer 2, mean"


def test_a_shared_scale_has_one_colour_bar_with_its_ends(recording):
    heads = recording.heads(1, (1, 3))
    _root, pictures, words = svg_of(figure(changed(VIEW, scale="shared"), recording))
    assert pictures[-1].size == (256, 1)
    assert words[-2:] == [f"{heads.min():.2g}", f"{heads.max():.2g}"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"kind": "rollout", "query": None}, "tiny: rollout from cls"),
        ({"kind": "relevance"}, "tiny: relevance for the predicted class"),
        ({"kind": "relevance", "target": 2}, "tiny: relevance for German shepherd"),
        ({"kind": "relevance", "similar_to": (0, 1)}, "tiny: relevance for the likeness to patch (0, 1)"),
        ({"layer": -1, "query": "mean"}, "tiny: attention of layer 2 from all patches"),
    ],
)
def test_titles(recording, settings, expected):
    view = changed(VIEW, **settings)
    assert title(view, recording) == expected
    _root, pictures, _ = svg_of(figure(view, recording))
    assert len(pictures) == (6 if view.map.kind == "attention" else 2)


def test_words_are_escaped():
    drawing = Drawing(100, 50, (Text("a<b> (c) \\ é", 5, 20, 9, "end"),), "t & u", json.dumps({}))
    root, _, words = svg_of(drawing)
    assert words == ["a<b> (c) \\ é"]
    title_element = root.find(f"{SVG}title")
    assert title_element is not None and title_element.text == "t & u"
    content = next(data for _, data in PdfFile(drawing.pdf()).streams(b"Length") if b" Tj ET" in data)
    assert rb"(a<b> \(c\) \\ e) Tj" in content and b"ActualText <FEFF0061003C0062" in content


def test_letters_beyond_ascii_are_drawn_and_kept_as_text():
    drawing = Drawing(200, 50, (Text("Käfer", 10, 30, 20),), "Käfer (кошка)", json.dumps({}))
    file = drawing.pdf()
    title = re.search(rb"/Title <(\w+)>", file)
    assert title and bytes.fromhex(title.group(1).decode()).decode("utf-16") == "Käfer (кошка)"
    content = next(data for _, data in PdfFile(file).streams(b"Length") if b" Tj ET" in data).decode()
    text = re.search(r"/ActualText <(\w+)> >> BDC", content)
    assert text and bytes.fromhex(text.group(1)).decode("utf-16") == "Käfer"
    if outlines("ä") is None:
        pytest.skip("no font of this machine has an ä")
    lines = [line for line in content.splitlines() if line.endswith(" h")]
    paths = [np.array(re.findall(r"([\d.]+) ([\d.]+) [ml]", line), float) for line in lines]
    assert len(paths) == 9  # K, f and r, two dots, a and e with a hole each
    (left, bottom), (right, top) = np.concatenate(paths).min(axis=0), np.concatenate(paths).max(axis=0)
    assert 10 <= left < 13 and 45 < right < 75 and 19 < bottom < 21 and 33 < top < 37  # 20 points high, on y = 50 - 30
    # The ink between the lines is that of the font's own picture; holes run the other way round.
    ink = sum((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2 for x, y in (path.T for path in paths))
    font = letters.font_with("Käfer")
    assert font
    values = np.array([*font.getmask("Käfer")], dtype=float)
    assert abs(ink) == pytest.approx((values > 127).sum() * (20 / letters.EM) ** 2, rel=0.08)


def test_letters_that_no_font_has_are_spelled(monkeypatch):
    monkeypatch.setattr(letters, "font_files", lambda: ())
    letters.font_with.cache_clear()
    assert outlines("Käfer") is None and spell_in_ascii("Käfer, кот") == r"Kafer, \u043a\u043e\u0442"
    content = Drawing(200, 50, (Text("Élan", 10, 30, 20),), "t", "{}").pdf()
    assert any(b"(Elan) Tj" in data for _, data in PdfFile(content).streams(b"Length"))
    letters.font_with.cache_clear()


def test_a_long_title_is_cut_where_it_would_be_too_small_to_read(recording):
    model = replace(recording.model, class_names=["beetle" * 45, *"bcde"])
    drawing = figure(changed(VIEW, kind="relevance", target=0), replace(recording, model=model))
    first = drawing.items[0]
    assert isinstance(first, Text) and first.size >= 6 and first.text.endswith("...")
    assert drawing.title.endswith("beetle" * 45)


def test_a_picture_lies_where_it_was_put():
    red = Image.new("RGB", (2, 2), "red")
    drawing = Drawing(100, 50, (Picture(red, 10, 5, 20, 30),), "t", "{}")
    content = next(data for _, data in PdfFile(drawing.pdf()).streams(b"Length") if b" Do Q" in data)
    assert content == b"q 20.000 0 0 30.000 10.000 15.000 cm /I0 Do Q"  # PDF counts from the bottom: 50 - 5 - 30


def test_what_cannot_be_drawn_is_refused(recording):
    with pytest.raises(QueryError):
        figure(VIEW, recording, of="tokens")  # type: ignore[arg-type]
    with pytest.raises(QueryError):
        figure(changed(VIEW, layer=7), recording)
