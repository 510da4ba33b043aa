"""Clips as cameras, screens and people make them: built with PyAV, right values worked out by hand."""

import io
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
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
    """A film whose frames begin at these hundredths of a second."""
    file = io.BytesIO()
    with av.open(file, "w", format=kind, options=settings.get("options", {})) as container:
        stream: Any = container.add_stream(codec, rate=100)
        stream.width, stream.height = frames[0].size
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", Fraction(1, 100)
        stream.codec_context.sample_aspect_ratio = settings.get("pixel", Fraction(1))
        if "matrix" in settings:
            stream.set_display_matrix(settings["matrix"])
        for frame, tick in zip(frames, ticks, strict=True):
            picture = av.VideoFrame.from_image(frame)
            picture.pts, picture.time_base = tick, Fraction(1, 100)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
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


def test_ticks_by_hand():
    assert even_times([0.0, 1.0, 1.1], 1.5, 4) == (4, [0, 0, 0, 0, 1, 2])
    assert even_times([0.0, 0.25, 0.5, 0.75], 1.0, 8) == (4.0, [0, 1, 2, 3])  # steady and slower: each once
    assert even_times([0.0, 0.033, 0.067, 0.1, 0.133, 0.167], 0.2, 15) == (15, [0, 2, 4])  # WebM's whole milliseconds
    assert even_times([0.0], 0.5, 8) == (2.0, [0])


@pytest.mark.parametrize(("delay", "seconds"), [(0, 2.0), (10, 2.0), (20, 0.4), (50, 1.0)])
def test_short_delays_of_a_gif_are_those_that_browsers_play(delay, seconds):
    clip = read_clip(held_gif([delay] * 20), fps=10)
    assert len(clip.frames) / clip.fps == pytest.approx(seconds, abs=0.06)


def test_the_last_frame_stays_as_long_as_it_should():
    clip = read_clip(held_gif([500, 100, 2000]), fps=10)
    assert numbers(clip) == [0] * 5 + [1] + [2] * 20


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


def test_countless_frames_in_no_time_are_refused(monkeypatch):
    monkeypatch.setattr(video, "MAX_DECODED", 20)
    with pytest.raises(VideoError, match="longer than"):
        read_clip(coded([numbered(0)] * 40, range(40)))


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
