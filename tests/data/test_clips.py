"""Clips as cameras, screens and people make them: built with PyAV, right values worked out by hand."""

import gc
import io
import itertools
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image

from explorer.data import video
from explorer.data.video import even_times, read_clip
from explorer.errors import VideoError
from tests.tiny import photo

BARS = 8  # a frame's number stands in it as black and white bars


def numbered(number, size=(64, 48)):
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    for bar in range(BARS):
        left, right = bar * size[0] // BARS, (bar + 1) * size[0] // BARS
        pixels[:, left:right] = 255 * (number >> bar & 1)
    return Image.fromarray(pixels)


def numbers(clip):
    read = []
    for frame in clip.frames:
        row = np.array(frame)[frame.height // 2, :, 0]
        read.append(sum(int(row[int((bar + 0.5) * len(row) / BARS)] > 127) << bar for bar in range(BARS)))
    return read


def coded(frames, ticks, codec="libx264", kind="mp4", **settings):
    """A film whose frames begin at these hundredths of a second, the last of which may be its end."""
    file, ends = io.BytesIO(), dict(itertools.pairwise(ticks))
    with av.open(file, "w", format=kind, options=settings.get("options", {})) as container:
        container.metadata.update(settings.get("metadata", {}))
        stream: Any = container.add_stream(codec, rate=100, options=settings.get("coder", {}))
        pictures = [each if isinstance(each, av.VideoFrame) else av.VideoFrame.from_image(each) for each in frames]
        stream.width, stream.height = pictures[0].width, pictures[0].height
        stream.pix_fmt, stream.codec_context.time_base = settings.get("pixels", "yuv420p"), Fraction(1, 100)
        stream.codec_context.sample_aspect_ratio = settings.get("pixel", Fraction(1))
        if "matrix" in settings:
            stream.set_display_matrix(settings["matrix"])
        packets = []
        for picture, tick in zip(pictures, ticks, strict=False):
            picture.pts, picture.time_base = tick, Fraction(1, 100)
            packets += stream.encode(picture)
        for packet in [*packets, *stream.encode(None)]:
            if len(ticks) > len(frames):
                packet.duration = ends[packet.pts] - packet.pts
            container.mux(packet)
    return file.getvalue()


def held_gif(delays):
    file, frames = io.BytesIO(), [numbered(number) for number in range(len(delays))]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=delays, disposal=1)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["mp4", "webm", "gif"])
def test_frames_are_those_on_the_screen_at_even_times(kind):
    starts = [0, 300, 310, 320, 330, 340, 350]  # one picture for three seconds, then ten a second
    if kind == "gif":
        data = held_gif([3000, *[100] * 6])
    else:
        frames = [numbered(number) for number in range(7)]
        data = coded(frames, starts, {"mp4": "libx264", "webm": "libvpx"}[kind], kind)
    clip = read_clip(data, fps=5)
    assert clip.fps == 5
    assert numbers(clip) == [0] * 15 + [1, 3, 5]  # at 0, 0.2, … 2.8, then 3.0, 3.2, 3.4


@pytest.mark.parametrize(
    ("ticks", "right"),
    [
        ([0, 100, 200, 204], [0] * 8 + [1] * 8),  # a slide show whose last picture only flashes up
        ([0, 200, 210, 220, 230, 350, 352, 354, 356, 360, 500], [0] * 16 + [1, 2, 3, *[4] * 9, 5, *[9] * 11]),
    ],
)
def test_the_last_frame_of_a_film_lasts_as_long_as_it_says(ticks, right):
    """HEVC's frames are stored in another order than they are shown in."""
    frames, quiet = [numbered(number, (128, 96)) for number in range(len(ticks) - 1)], {"x265-params": "log-level=none"}
    assert numbers(read_clip(coded(frames, ticks, "libx265", coder=quiet))) == right


def test_ticks_by_hand():
    assert even_times([0.0, 1.0, 1.1], 1.5, 4) == (4, [0, 0, 0, 0, 1, 2])
    assert even_times([0.0, 0.25, 0.5, 0.75], 1.0, 8) == (4.0, [0, 1, 2, 3])  # steady and slower: each once
    assert even_times([0.0, 0.033, 0.067, 0.1, 0.133, 0.167], 0.2, 15) == (15, [0, 2, 4])  # WebM's whole milliseconds
    assert even_times([0.0], 0.5, 8) == (2.0, [0])
    drifting = [0.0, *np.cumsum([0.12] * 20 + [0.13] * 20)]  # none is far from the next, all are from one beat
    assert even_times(drifting, 5.13, 8) == (8, [int(np.searchsorted(drifting, k / 8 + 6e-4) - 1) for k in range(41)])


@pytest.mark.parametrize(("delay", "seconds"), [(0, 2.0), (10, 2.0), (20, 0.4), (50, 1.0)])
def test_short_delays_of_a_gif_are_those_that_browsers_play(delay, seconds):
    clip = read_clip(held_gif([delay] * 20), fps=10)
    assert len(clip.frames) / clip.fps == pytest.approx(seconds, abs=0.06)


def test_the_last_frame_stays_as_long_as_it_should():
    clip = read_clip(held_gif([500, 100, 2000]), fps=10)
    assert numbers(clip) == [0] * 5 + [1] + [2] * 20


GIF_TABLE = np.array([(9, 9, 9), (250, 0, 0), (0, 250, 0), (0, 0, 250), *[(90, 90, 90)] * 4], np.uint8)


def gif_of(size, images):
    """A GIF by hand; images: (left, top, indexes, disposal, transparent index, colours of its own or None)."""
    sides = b"".join(int(side).to_bytes(2, "little") for side in size)
    parts = [b"GIF89a", sides, b"\xf2\0\0", GIF_TABLE.tobytes()]
    for left, top, indexes, disposal, clear, own in images:
        place = (left, top, indexes.shape[1], indexes.shape[0])
        codes = [code for index in indexes.ravel().tolist() for code in (8, index)]  # 8 empties the table each time
        bits = "".join(f"{code:04b}"[::-1] for code in [*codes, 9])
        data = bytes(int(bits[at : at + 8][::-1], 2) for at in range(0, len(bits), 8))
        blocks = [data[at : at + 255] for at in range(0, len(data), 255)]
        parts += [b"\x21\xf9\x04", bytes([disposal << 2 | 1, 20, 0, clear, 0]), b"\x2c"]
        parts += [value.to_bytes(2, "little") for value in place] + [b"\x82" if own is not None else b"\0"]
        parts += [b"" if own is None else own.tobytes(), b"\x03"]
        parts += [bytes([len(block)]) + block for block in blocks] + [b"\0"]
    return b"".join([*parts, b";"])


def test_parts_of_a_gif_are_laid_on_each_other_as_browsers_do():
    """Disposals, tables of colours of their own and what sticks out, by the rules of GIF89a."""
    rng, own = np.random.default_rng(0), GIF_TABLE[::-1].copy()
    images = [(0, 0, rng.integers(0, 8, (16, 24)), 1, 7, None), (5, 3, rng.integers(0, 8, (9, 9)), 3, 2, None)]
    images += [(2, 6, rng.integers(0, 8, (8, 12)), 2, 5, own), (18, 10, rng.integers(0, 8, (9, 9)), 2, 1, None)]
    images += [(0, 2, rng.integers(0, 8, (5, 24)), 0, 0, own)]
    canvas, right = np.zeros((16, 24, 4), np.uint8), []
    for left, top, indexes, disposal, clear, colours in images:
        before, part = canvas.copy(), canvas[top : top + indexes.shape[0], left : left + indexes.shape[1]]
        indexes = indexes[: part.shape[0], : part.shape[1]]
        drawn = indexes != clear
        part[drawn, :3], part[drawn, 3] = (GIF_TABLE if colours is None else colours)[indexes[drawn]], 255
        right.append(np.where(canvas[..., 3:] == 255, canvas[..., :3], 255))  # on a white page
        if disposal == 2:
            part[:] = 0
        canvas = before if disposal == 3 else canvas
    clip = read_clip(gif_of((24, 16), images), fps=5)
    np.testing.assert_array_equal([np.array(frame) for frame in clip.frames], right)


@pytest.mark.parametrize(("pixel", "size"), [((4, 3), (64, 36)), ((1, 2), (48, 72)), ((1, 1), (48, 36))])
def test_pixels_that_are_no_squares(pixel, size):
    data = coded([photo(48, 36)] * 2, [0, 20], pixel=Fraction(*pixel))
    assert read_clip(data).frames[0].size == size


# Each display matrix with what it does to the rows and columns of an array, by the definition in FFmpeg's display.h.
MATRICES = {
    "as it is": ((1, 0, 0, 1), lambda a: a),
    "a phone held upright": ((0, 1, -1, 0), lambda a: np.rot90(a, -1)),
    "the other way": ((0, -1, 1, 0), lambda a: np.rot90(a)),
    "upside down": ((-1, 0, 0, -1), lambda a: a[::-1, ::-1]),
    "mirrored": ((-1, 0, 0, 1), lambda a: a[:, ::-1]),
    "mirrored upside down": ((1, 0, 0, -1), lambda a: a[::-1]),
    "mirrored and turned": ((0, 1, 1, 0), lambda a: a.swapaxes(0, 1)),
    "mirrored and turned back": ((0, -1, -1, 0), lambda a: a[::-1, ::-1].swapaxes(0, 1)),
}


@pytest.mark.parametrize("name", MATRICES)
def test_frames_are_turned_and_mirrored_as_players_do(name):
    (a, b, c, d), right = MATRICES[name]
    tiles = np.kron([[0, 255, 80], [160, 40, 200]], np.ones((16, 16))).astype(np.uint8)
    corners = Image.fromarray(tiles).convert("RGB")
    one = 1 << 16
    data = coded([corners] * 2, [0, 20], matrix=(a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30))
    np.testing.assert_allclose(np.array(read_clip(data).frames[0]), right(np.array(corners)), atol=40)


def test_other_codecs_are_read_too():
    for codec, kind in (("libsvtav1", "mp4"), ("libx265", "mp4"), ("libvpx-vp9", "webm"), ("mpeg4", "mp4")):
        data = coded([numbered(number, (128, 96)) for number in range(4)], [0, 10, 20, 30], codec, kind)
        assert numbers(read_clip(data, fps=10)) == [0, 1, 2, 3], codec


def test_a_codec_that_cannot_be_decoded_is_said_with_one_that_can():
    data = coded([numbered(0)] * 2, [0, 10])
    with pytest.raises(VideoError, match=r"as xyz1, which can't be decoded here; save it again as MP4 with H.264"):
        read_clip(data.replace(b"avc1", b"xyz1"))
    webm = coded([numbered(0)] * 2, [0, 10], "libvpx", "webm")
    with pytest.raises(VideoError, match="as V_VPX, which"):
        read_clip(webm.replace(b"V_VP8", b"V_VPX"))
    with pytest.raises(VideoError, match="as msmpeg4v3, which"):
        read_clip(coded([numbered(0)] * 2, [0, 10], "msmpeg4", "matroska"))


def sound(kind, codec="aac", cover=None):
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as container:
        stream: Any = container.add_stream(codec, rate=44100, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        silence.sample_rate = 44100
        container.mux([*stream.encode(silence), *stream.encode(None)])
    return file.getvalue()


@pytest.mark.parametrize(("kind", "codec", "said"), [("mp4", "aac", "sound alone"), ("mp3", "libmp3lame", "audio")])
def test_sound_alone_is_said(kind, codec, said):
    with pytest.raises(VideoError, match=said):
        read_clip(sound(kind, codec))


def test_a_clip_that_was_cut_short_gives_what_is_there():
    frames, options = [photo(64, 48, seed=seed) for seed in range(30)], {"movflags": "frag_every_frame+empty_moov"}
    data = coded(frames, range(0, 300, 10), options=options)
    assert 10 < len(read_clip(data[: len(data) // 2], fps=10).frames) < 20


@pytest.mark.parametrize("brand", [b"avif", b"heic", b"mif1"])
def test_a_photo_in_the_kind_of_file_that_films_have_is_refused(brand):
    file = io.BytesIO()
    photo(64, 48).save(file, "AVIF")
    with pytest.raises(VideoError, match="a photo, which doesn't move"):
        read_clip(file.getvalue().replace(b"avif", brand, 1))


def test_frames_are_let_go_without_waiting_for_the_garbage_collector():
    frames = read_clip(coded([numbered(number) for number in range(30)], range(0, 300, 10)), fps=10).frames
    gc.collect()
    gc.disable()
    try:
        made = iter(frames)
        for _ in range(29):
            next(made)
        alive = sum(type(each) is av.VideoFrame for each in gc.get_objects())
    finally:
        gc.enable()
    assert alive < 10  # the decoder hands out a few at a time


def test_countless_frames_in_no_time_are_refused(monkeypatch):
    monkeypatch.setattr(video, "MAX_DECODED", 20)
    with pytest.raises(VideoError, match="longer than"):
        read_clip(coded([numbered(0)] * 40, range(40)))


def test_a_gif_that_was_cut_short_gives_what_is_there():
    data = held_gif([100] * 10)
    assert numbers(read_clip(data[: len(data) * 3 // 4], fps=10))[:6] == [0, 1, 2, 3, 4, 5]


def test_titles_that_are_no_text_do_no_harm():
    data = coded([numbered(0)] * 2, [0, 10], kind="matroska", metadata={"title": "Zuerich"})
    assert len(read_clip(data.replace(b"Zuerich", b"Z\xfcrich!")).frames) == 2


def two_films(default):
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        for number in range(2):
            stream = container.add_stream("ffv1", rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            stream.disposition = Disposition.default if number == default else Disposition(0)
        for number, stream in enumerate(container.streams.video):
            container.mux([*stream.encode(av.VideoFrame.from_image(numbered(7 + number))), *stream.encode(None)])
    return file.getvalue()


@pytest.mark.parametrize("default", [0, 1])
def test_of_two_films_in_a_file_the_one_that_players_take_is_read(default):
    assert numbers(read_clip(two_films(default))) == [7 + default]


def test_what_is_transparent_is_white():
    cut_out = photo(64, 48)
    cut_out.putalpha(Image.fromarray(np.repeat([[255] * 32 + [0] * 32], 48, axis=0).astype(np.uint8)))
    right = np.array(cut_out.convert("RGB"))
    right[:, 32:] = 255
    pixels = av.VideoFrame.from_ndarray(np.array(cut_out), "rgba")
    film = coded([pixels] * 2, [0, 20], "png", "mov", pixels="rgba")
    np.testing.assert_array_equal(np.array(read_clip(film).frames[0]), right)


COLOURS = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (255, 255, 255), (0, 0, 0), (128, 128, 128)]
MATRICES_OF_COLOUR = {"601": (0.299, 0.114), "709": (0.2126, 0.0722)}  # of red and blue in what is light


def striped(kind, rows):
    """Stripes of these colours as a film by the formulas of ITU-R BT.601 or BT.709 that doesn't say which."""
    red, blue = MATRICES_OF_COLOUR[kind]
    r, g, b = np.array(COLOURS).T / 255
    luma = red * r + (1 - red - blue) * g + blue * b
    planes = [16 + 219 * luma, 128 + 112 * (b - luma) / (1 - blue), 128 + 112 * (r - luma) / (1 - red)]
    frame = av.VideoFrame(96, rows, "yuv420p")
    for plane, values in zip(frame.planes, planes, strict=True):
        row = np.repeat(np.round(values).astype(np.uint8), plane.width // len(COLOURS))
        plane.update(np.tile(np.pad(row, (0, plane.line_size - len(row))), (plane.height, 1)).tobytes())
    return coded([frame] * 2, [0, 20], "ffv1", "matroska")


@pytest.mark.parametrize(("rows", "kind"), [(480, "601"), (576, "601"), (720, "709"), (1080, "709")])
def test_colours_that_the_file_does_not_name_are_those_of_its_size(rows, kind):
    stripes = np.array(read_clip(striped(kind, rows)).frames[0])[rows // 2, 8::16]
    np.testing.assert_allclose(stripes.astype(int), COLOURS, atol=3)


def test_a_film_that_is_too_long_is_refused_before_any_of_it_is_decoded(monkeypatch):
    data = coded([numbered(0)] * 3, [0, 10, 3600_000])
    monkeypatch.setattr(video, "_decode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(VideoError, match="longer than 30 seconds"):
        read_clip(data)


def photos_as_film(sizes):
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for tick, size in enumerate(sizes):
            picture = io.BytesIO()
            photo(*size).save(picture, "JPEG")
            packet = av.Packet(picture.getvalue())
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, tick, tick, Fraction(1, 10)
            container.mux(packet)
    return file.getvalue()


def test_a_later_frame_of_another_size_comes_in_the_size_of_the_first():
    frames = list(read_clip(photos_as_film([(64, 48), (128, 96)])).frames)
    assert [frame.size for frame in frames] == [(64, 48)] * 2
    assert np.abs(np.array(frames[0]).astype(int) - np.array(photo(64, 48))).mean() < 12


def test_a_later_frame_may_not_be_larger_than_the_limit():
    with pytest.raises(VideoError, match="damaged"):
        read_clip(photos_as_film([(64, 48), (4000, 3000)]))
