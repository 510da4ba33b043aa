"""Clips in and out: real MP4, WebM and GIF files written and read back, limits, one colour scale, cancelling."""

import io
import itertools

import av
import cv2
import numpy as np
import pytest
from PIL import Image
from PIL.GifImagePlugin import GifImageFile

import explorer
from explorer.data import video
from explorer.data.video import Clip, Frames, pan, read_clip
from explorer.errors import VideoError
from explorer.models.geometry import Geometry
from explorer.rendering.video import ClipMaps, gif, mp4, painted_frames, record_clip, side_by_side
from tests.tiny import photo, tiny_model
from tests.views import view_of

VIEW = view_of(image="clip.mp4", layer=1, head=0)
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


def test_a_films_colours_are_those_of_its_frames_and_named():
    """Players take a film of 720 rows for BT.709 where it says nothing, and a smaller one for BT.601."""
    stripes = np.repeat(np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200]], np.uint8), 32, axis=0)[None]
    for rows in (96, 720):
        data = mp4([Image.fromarray(np.repeat(stripes, rows, axis=0))] * 2, 5)
        with av.open(io.BytesIO(data), "r") as container:
            frame = next(container.decode(video=0))
        assert (frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc) == (1, 1, 1, 1)
        seen = np.array(read_clip(data).frames[0])[rows // 2, 16::32]
        np.testing.assert_allclose(seen.astype(int), stripes[0, 16::32], atol=6)


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
    view = view_of(opacity=1.0, colormap="grey", resample="nearest")
    first, second = (
        np.array(frame) for frame in painted_frames(ClipMaps(clip, maps, Geometry.whole((16, 16), squash=False)), view)
    )
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
    view = view_of(image="clip.mp4", layer=1, head=0, fit=fit, opacity=0.0, **settings)
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


@pytest.mark.parametrize(("count", "fps"), [(100, 24), (77, 29.97), (60, 60), (7, 6.9), (3, 0.4)])
def test_a_gif_is_as_long_as_its_frames(count, fps):
    frames = [photo(32, 24, seed=number) for number in range(count)]
    image, played = GifImageFile(io.BytesIO(gif(frames, fps))), 0
    for place in range(image.n_frames):
        image.seek(place)
        assert image.info["duration"] >= 20  # browsers show 10 for 100
        played += image.info["duration"]
    assert played / 1000 == pytest.approx(count / fps, abs=0.02)
