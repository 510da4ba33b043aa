"""Clips in and out: real MP4, WebM and GIF files written and read back, limits, one colour scale, cancelling."""

import io
import itertools
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from PIL import Image
from PIL.GifImagePlugin import GifImageFile

import explorer
from explorer.data import video
from explorer.data.video import Clip, Frames, evenly, pan, read_clip
from explorer.errors import VideoError
from explorer.rendering.video import ClipMaps, gif, mp4, painted_frames, record_clip, side_by_side
from explorer.rendering.view import View
from tests.tiny import photo, tiny_model

VIEW = View(model="tiny", image="clip.mp4", layer=1, head=0)
SHADES = [20 * step for step in range(12)]


def grey_frames(count=12, size=(64, 48)):
    return [Image.new("RGB", size, (shade,) * 3) for shade in SHADES[:count]]


def webm(frames, fps, path):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"VP80"), fps, frames[0].size)
    for frame in frames:
        writer.write(np.ascontiguousarray(np.array(frame)[:, :, ::-1]))
    writer.release()
    return path.read_bytes()


def shades(clip):
    return [int(np.array(frame).mean()) for frame in clip.frames]


@pytest.mark.parametrize("kind", ["mp4", "webm", "gif"])
def test_every_frame_comes_back_in_order_with_its_colour(kind, tmp_path):
    frames = grey_frames()
    data = {"mp4": mp4, "gif": gif}[kind](frames, 6) if kind != "webm" else webm(frames, 6, tmp_path / "c.webm")
    clip = read_clip(data, fps=30)
    assert len(clip.frames) == 12 and clip.fps == pytest.approx(6, rel=0.03)
    assert clip.frames[0].size == (64, 48) and clip.frames[0].mode == "RGB"
    np.testing.assert_allclose(shades(clip), SHADES, atol=4)


def test_fewer_frames_a_second_are_evenly_spaced():
    clip = read_clip(mp4(grey_frames(), 12), fps=3)
    np.testing.assert_allclose(shades(clip), SHADES[::4], atol=4)
    assert clip.fps == pytest.approx(3)


def test_a_path_is_read_too(tmp_path):
    (tmp_path / "clip.mov").write_bytes(mp4(grey_frames(2), 5))
    assert len(read_clip(tmp_path / "clip.mov").frames) == 2


def test_odd_sides_lose_a_row_and_a_column():
    assert read_clip(mp4(grey_frames(2, (63, 49)), 5)).frames[0].size == (62, 48)


def test_frames_keep_the_clips_size():
    assert read_clip(mp4(grey_frames(1, (1600, 1440)), 5)).frames[0].size == (1600, 1440)


def test_frames_are_made_when_asked_for_and_made_again():
    made = []
    frames = Frames(3, lambda: (made.append(n) or Image.new("L", (n + 1, 1)) for n in range(3)))
    assert len(frames) == 3 and not made
    steps = iter(frames)
    assert next(steps).width == 1 and made == [0]  # one at a time
    assert [frame.width for frame in frames] == [1, 2, 3]
    assert frames[-1].width == 3
    with pytest.raises(IndexError):
        frames[3]


@pytest.mark.parametrize("data", [b"", b"#EXTM3U\nhttp://example.org/a.ts", b"\x89PNG\r\n\x1a\n" + bytes(50)])
def test_what_is_no_clip_is_refused(data):
    with pytest.raises(VideoError, match="MP4, WebM or GIF"):
        read_clip(data)


@pytest.mark.parametrize("kind", [mp4, gif])
def test_a_clip_cut_off_at_its_start_is_refused(kind):
    with pytest.raises(VideoError, match="again"):
        read_clip(kind(grey_frames(3), 5)[:30])


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(VideoError, match="no file 'none"):
        read_clip(tmp_path / "none.mp4")


@pytest.mark.parametrize(
    ("limit", "value", "said"),
    [("MAX_FRAMES", 5, "more than 5"), ("MAX_SECONDS", 1, "longer"), ("MAX_PIXELS", 99, "64x48")],
)
def test_limits_are_said(limit, value, said, monkeypatch):
    monkeypatch.setattr(video, limit, value)
    with pytest.raises(VideoError, match=said):
        read_clip(mp4(grey_frames(), 6), fps=30)


def test_maps_are_those_of_each_frame_alone():
    model, frames = tiny_model(), [photo(80, 64, seed=seed) for seed in range(3)]
    seen = []
    clip = record_clip(model, Clip(frames, 8.0), VIEW, progress=lambda done, total: seen.append((done, total)))
    for frame, heatmap in zip(frames, clip.maps, strict=True):
        np.testing.assert_array_equal(heatmap, explorer.record(model, frame).attention(1, 0))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_one_colour_scale_holds_for_all_frames():
    clip = Clip([Image.new("RGB", (16, 16))] * 2, 8.0)
    maps = np.array([[[0.0, 0.2], [0.2, 0.2]], [[1.0, 0.2], [0.2, 0.2]]], np.float32)
    view = View(model="m", image="i", opacity=1.0, colormap="grey", resample="nearest")
    first, second = (np.array(frame) for frame in painted_frames(ClipMaps(clip, maps, (16, 16)), view))
    assert first[0, 0, 0] == 0 and second[0, 0, 0] == 255
    assert first[15, 15, 0] == second[15, 15, 0] == 51  # 0.2 of the clip's range in both


@pytest.mark.parametrize(
    ("fit", "settings", "largest", "size"),
    [
        ("crop", {}, 1080, (240, 240)),  # what a crop cuts off stays cut
        ("squash", {}, 1080, (400, 240)),  # the clip's own aspect
        ("keep", {}, 200, (200, 120)),
        ("keep", {"width": 100}, 1080, (100, 60)),
    ],
)
def test_films_are_drawn_at_the_clips_own_size(fit, settings, largest, size):
    frames = [photo(400, 240, seed=seed) for seed in range(2)]
    view = View(model="tiny", image="clip.mp4", layer=1, head=0, fit=fit, opacity=0.0, **settings)
    clip = record_clip(tiny_model(), Clip(frames, 8.0), view)
    painted = list(painted_frames(clip, view, largest=largest))
    assert [frame.size for frame in painted] == [size] * 2
    kept = frames[1].crop((80, 0, 320, 240)) if fit == "crop" else frames[1]
    expected = kept if size == kept.size else kept.resize(size, Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(np.array(painted[1]), np.array(expected))


def test_tiny_frames_are_enlarged_to_what_the_model_saw():
    clip = record_clip(tiny_model(), Clip([photo(20, 20)], 8.0), VIEW)
    (frame,) = painted_frames(clip, VIEW)
    assert frame.size == (64, 64)


def test_a_long_film_holds_one_frame_at_a_time():
    alive = most = 0

    class Counted(Image.Image):
        def __del__(self):
            nonlocal alive
            alive -= 1

    def frames():
        nonlocal alive, most
        for _ in range(6):
            frame = photo(64, 48)
            frame.__class__ = Counted
            alive += 1
            most = max(most, alive)
            yield frame
            del frame

    clip = record_clip(tiny_model(), Clip(Frames(6, frames), 8.0), VIEW)
    assert len(read_clip(mp4(painted_frames(clip, VIEW), 8)).frames) == 6
    assert most <= 2


def test_progress_can_stop_the_work():
    def stop(done, total):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        record_clip(tiny_model(), Clip([photo()] * 3, 8.0), VIEW, progress=stop)
    with pytest.raises(InterruptedError):
        mp4(grey_frames(), 8, progress=stop)


def test_a_pan_goes_from_corner_to_corner():
    image = photo(100, 50)
    clip = pan(image, frames=3, fps=4)
    assert [frame.size for frame in clip.frames] == [(35, 35)] * 3 and clip.fps == 4
    np.testing.assert_array_equal(np.array(clip.frames[0]), np.array(image)[:35, :35])
    np.testing.assert_array_equal(np.array(clip.frames[2]), np.array(image)[15:, 65:])


def test_side_by_side_keeps_both():
    pair = np.array(side_by_side([Image.new("RGB", (4, 3), "red"), Image.new("RGB", (5, 3), "blue")], gap=2))
    assert pair.shape == (3, 11, 3)
    assert (
        pair[0, 3].tolist() == [255, 0, 0] and pair[0, 4].tolist() == [255] * 3 and pair[0, 6].tolist() == [0, 0, 255]
    )


def test_a_gif_keeps_its_photos_colours():
    frames = [photo(seed=seed) for seed in range(3)]
    image = GifImageFile(io.BytesIO(gif(frames, 10)))
    assert image.n_frames == 3 and image.info["duration"] == 100 and image.info["loop"] == 0
    image.seek(1)
    error = np.abs(np.array(image.convert("RGB")).astype(int) - np.array(frames[1])).mean()
    assert error < 12


def test_many_short_frames_of_a_gif_are_thinned_out():
    data = gif(list(itertools.islice(itertools.cycle(grey_frames()), 100)), 50)
    assert len(read_clip(data, fps=10).frames) == 20


# Clips as cameras, screens and people make them: built with PyAV, right values worked out by hand.

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
        stream = container.add_stream(codec, rate=100)
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
    assert evenly([0.0, 1.0, 1.1], 1.5, 4) == (4, [0, 0, 0, 0, 1, 2])
    assert evenly([0.0, 0.25, 0.5, 0.75], 1.0, 8) == (4.0, [0, 1, 2, 3])  # steady and slower: each once
    assert evenly([0.0, 0.033, 0.067, 0.1, 0.133, 0.167], 0.2, 15) == (15, [0, 2, 4])  # WebM's whole milliseconds
    assert evenly([0.0], 0.5, 8) == (2.0, [0])


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
        stream = container.add_stream(codec, rate=44100, layout="mono")
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


@pytest.mark.parametrize(("count", "fps"), [(100, 24), (77, 29.97), (60, 60), (7, 6.9), (3, 0.4)])
def test_a_gif_is_as_long_as_its_frames(count, fps):
    frames = [numbered(number % 256) for number in range(count)]
    image, played = GifImageFile(io.BytesIO(gif(frames, fps))), 0
    for place in range(image.n_frames):
        image.seek(place)
        assert image.info["duration"] >= 20  # browsers show 10 for 100
        played += image.info["duration"]
    assert played / 1000 == pytest.approx(count / fps, abs=0.02)
