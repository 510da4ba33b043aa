"""Attention over a clip: every frame's map in one colour scale, as MP4 or GIF."""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import numpy as np
from av.codec.codec import UnknownCodecError
from av.container import OutputContainer
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from PIL import Image

from explorer.attention.recording import record
from explorer.data.video import Clip, Frames
from explorer.errors import VideoError
from explorer.models.geometry import Geometry
from explorer.rendering.backdrop import backdrop
from explorer.rendering.view import View, paint, second_recording, shown_map, shown_mask, value_range

if TYPE_CHECKING:
    from explorer.attention.recording import Recording
    from explorer.models.backbone import Model

Progress = Callable[[int, int], None]  # frames done, frames in all; raise from it to stop
CODEC = "libvpx-vp9"  # VP9: all browsers play it, and it is free to write
QUICK = {"deadline": "realtime", "cpu-used": "8", "row-mt": "1", "crf": "24", "b": "0"}  # of the encoder
LARGEST, LARGEST_GIF = 1080, 480  # pixels of a frame's longer side; a GIF takes about a byte for each pixel
PALETTE_FRAMES = 12  # frames that a GIF's colours are chosen from
SHORTEST_DELAY = 2  # hundredths of a second
GAP = 8  # pixels between photo and attention


@dataclass(frozen=True)
class ClipMaps:
    """A clip with one map per frame."""

    clip: Clip
    maps: np.ndarray  # (frames, rows, cols) float32
    geometry: Geometry  # of a frame as the model saw it

    @property
    def fps(self) -> float:
        return self.clip.fps


def record_clip(
    model: "Model", clip: Clip, view: View, progress: Progress | None = None, second: "Recording | None" = None
) -> ClipMaps:
    """The view's map of every frame; of each frame only the map stays in memory.

    second: the recording of the other image of a likeness, where there is one already; else it is made once.
    """
    maps, geometry = [], None
    second = second or second_recording(view, model)
    for frame in clip.frames:
        recording = record(model, frame, view.photo.size, view.photo.fit)
        geometry = recording.part.geometry
        maps.append(shown_map(view, recording, second))
        if progress:
            progress(len(maps), len(clip.frames))
    assert geometry is not None  # a clip has a frame
    return ClipMaps(clip, np.stack(maps), geometry)


def painted_frames(clip: ClipMaps, view: View, beside: bool = False, largest: int = LARGEST) -> Frames:
    """Every frame with its map, in the clip's own size with a longer side of at most `largest`, or look.width wide.

    Lowest to highest of the whole clip in one colour scale; beside: after the frame itself. The frames are painted
    each time they are gone through.
    """
    return Frames(len(clip.maps), lambda: _paint(clip, view, beside, largest))


def _paint(clip: ClipMaps, view: View, beside: bool, largest: int) -> Iterator[Image.Image]:
    low, high = value_range(view, clip.maps)
    for frame, heatmap in zip(clip.clip.frames, clip.maps, strict=True):
        rows, cols = clip.geometry.input
        seen = Image.new("RGB", (cols, rows))
        image = backdrop(seen, frame, clip.geometry, view.look.width, largest=largest)
        painted = paint(view.drawn_look, image, heatmap, low, high, shown_mask(view.look, heatmap))
        yield side_by_side([image, painted]) if beside else painted


def side_by_side(pictures: Sequence[Image.Image], gap: int = GAP) -> Image.Image:
    """Pictures of one height in a row on white."""
    width = sum(picture.width for picture in pictures) + gap * (len(pictures) - 1)
    row = Image.new("RGB", (width, pictures[0].height), "white")
    left = 0
    for picture in pictures:
        row.paste(picture, (left, 0))
        left += picture.width + gap
    return row


def mp4(frames: Iterable[Image.Image], fps: float, progress: Progress | None = None, total: int = 0) -> bytes:
    """The frames as an MP4 file (VP9), which current browsers play. Raises VideoError where there's no encoder."""
    file, stream = io.BytesIO(), None
    with av.open(file, "w", format="mp4") as container:
        for done, frame in enumerate(frames, start=1):
            # The codec's colours need an even number of rows and columns.
            even = frame.crop((0, 0, frame.width // 2 * 2, frame.height // 2 * 2))
            stream = stream or _vp9_stream(container, fps, even.size)
            picture = av.VideoFrame.from_image(even).reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
            picture.pts, picture.time_base = done - 1, 1 / stream.codec_context.framerate
            container.mux(stream.encode(picture))
            if progress:
                progress(done, total)
        if stream:
            container.mux(stream.encode(None))
    return file.getvalue()


def _vp9_stream(container: OutputContainer, fps: float, size: tuple[int, int]) -> av.VideoStream:
    """Of so many frames a second, with its colours named: of a tall picture without, players expect other ones."""
    try:
        stream = container.add_stream(CODEC, rate=Fraction(fps).limit_denominator(100_000), options=QUICK)
    except UnknownCodecError:
        raise VideoError(
            "This PyAV can't write VP9 video: save a GIF, or install PyAV's wheel (pip install av)."
        ) from None
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    coder = stream.codec_context
    coder.colorspace, coder.color_range = Colorspace.ITU709, ColorRange.MPEG
    coder.color_primaries, coder.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
    return stream


def gif(frames: Sequence[Image.Image], fps: float) -> bytes:
    """The frames as an endless GIF; all share one palette, so that nothing flickers. They are gone through twice.

    It lasts as long as the frames do: their delays, in whole hundredths, carry what was rounded; of more frames than 50
    a second some are left out, because browsers show a frame of one hundredth for ten.
    """
    shown = delays(len(frames), fps)
    places = np.linspace(0, len(frames) - 1, PALETTE_FRAMES).astype(int).tolist()
    some = {place: frame for place, frame in enumerate(frames) if place in places}
    palette = side_by_side([some[place] for place in places], gap=0).quantize(255)
    paletted = (
        frame.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
        for place, frame in enumerate(frames)
        if place in shown
    )
    file, duration = io.BytesIO(), list(shown.values())
    next(paletted).save(file, "GIF", save_all=True, append_images=paletted, duration=duration, loop=0, disposal=1)
    return file.getvalue()


def delays(count: int, fps: float) -> dict[int, int]:
    """Which of the frames a GIF shows, and for how many milliseconds each, so that it is as long as they are."""
    hundredths = [round(100 * place / fps) for place in range(count + 1)]
    shown, start = {}, 0
    for place in range(count):
        end = hundredths[place + 1]
        if end - start >= SHORTEST_DELAY:
            shown[place], start = 10 * (end - start), end
    return shown or {0: 10 * SHORTEST_DELAY}
