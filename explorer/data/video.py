"""Read a short clip: MP4 and WebM through PyAV (FFmpeg), GIF through Pillow, within limits that errors name."""

import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import IO

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError, InvalidDataError
from av.stream import Disposition
from jaxtyping import Shaped
from PIL import Image, ImageSequence, UnidentifiedImageError

from explorer.data.images import open_image
from explorer.errors import VideoError

VideoSource = str | PathLike[str] | bytes
MAX_SECONDS = 30
MAX_FRAMES = 300
MAX_PIXELS = 3840 * 2160  # of one frame
MAX_DECODED = 240 * MAX_SECONDS  # frames, however close together their time stamps lie: phones film up to 240 fps
Timed = tuple[float, float, Callable[[], Image.Image]]  # start and duration in seconds, what makes the picture in time
LIMITS = f"at most {MAX_SECONDS} seconds, {MAX_FRAMES} frames and 3840 × 2160 pixels"
READABLE = "MP4, WebM and GIF clips work"
SAVE_AS = "save it again as MP4 with H.264, as WebM with VP9, or as GIF"
DEMUXERS = {"ftyp": "mov", "moov": "mov", "mdat": "mov", "wide": "mov", "free": "mov", "skip": "mov"}
# FFmpeg has hundreds of decoders, each of which an upload could attack: those of cameras, screens, phones and the web.
DECODERS = {
    *("h264", "hevc", "vvc", "vp8", "vp9", "av1", "mpeg4", "h263", "mjpeg", "prores", "dnxhd"),
    *("mpeg1video", "mpeg2video", "theora", "ffv1", "qtrle", "png"),
}
AUDIO = (b"ID3", b"OggS", b"fLaC", b"\xff\xfb", b"\xff\xf3", b"\xff\xf1")
GIF_DELAY, SHORTEST_GIF_DELAY = 100, 10  # milliseconds: browsers show every frame of 10 or less for 100
STEADY = 0.011  # seconds by which frames of one rate may differ: a GIF's delays are whole hundredths
EARLY = 0.0006  # seconds before a frame begins at which it counts as begun: WebM's stamps are whole milliseconds


class Frames(Sequence[Image.Image]):
    """Pictures that are made again, one at a time, at each iteration, since 300 in full size would fill the memory.

    make: an iterator over all of them, from the first on.
    """

    def __init__(self, count: int, make: Callable[[], Iterator[Image.Image]]):
        self.length, self.make = count, make

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Image.Image]:
        return self.make()

    def __getitem__(self, index):
        if isinstance(index, slice):
            raise TypeError("Frames are made one at a time: go through them, or ask for one.")
        index = range(self.length)[index]
        return next(islice(self.make(), index, None))


@dataclass(frozen=True)
class Clip:
    """The frames that will be looked at, evenly spaced in time, as a player shows them."""

    frames: Sequence[Image.Image]  # RGB
    fps: float


def read_clip(source: VideoSource, fps: float = 8.0) -> Clip:
    """The pictures that a player shows at even times, `fps` a second; all frames of a clip that is steady and slower.

    source: a path or the bytes of a file. Each frame is decoded when it is asked for, and comes upright, with square
    pixels. Raises VideoError for files that are no MP4, WebM or GIF, that can't be decoded, or that pass the limits on
    seconds, frames and pixels.
    """
    if not 0 < fps <= 60:
        raise VideoError(f"Frames per second must lie above 0 and up to 60, not {fps}.")
    rate, shown = even_times(*_timeline(source), fps)
    if len(shown) > MAX_FRAMES:
        raise VideoError(
            f"The clip has more than {MAX_FRAMES} frames at {fps:g} per second; a clip may have {LIMITS}: "
            "cut it, or take fewer frames per second."
        )
    return Clip(Frames(len(shown), lambda: _pictures(source, shown)), rate)


def pan(image: Image.Image, frames: int = 16, fps: float = 8.0) -> Clip:
    """A clip made of one photo: a square window moves from its upper left to its lower right corner."""
    side = round(0.7 * min(image.size))
    steps = [index / max(frames - 1, 1) for index in range(frames)]
    corners = [(round((image.width - side) * step), round((image.height - side) * step)) for step in steps]
    return Clip(Frames(frames, lambda: (image.crop((x, y, x + side, y + side)) for x, y in corners)), fps)


def even_times(starts: Sequence[float], end: float, fps: float) -> tuple[float, list[int]]:
    """(pictures a second, which frame is on the screen at each of these even times).

    starts: when each frame begins, from 0 on; end: when the last one ends. Frames that already come evenly, no more
    than `fps` a second, are all taken at their own rate.
    """
    gaps, rate = np.diff([*starts, end]), len(starts) / end
    if np.ptp(gaps) <= STEADY and rate <= 1.02 * fps:
        return rate, list(range(len(starts)))
    ticks = np.arange(max(1, round(end * fps))) / fps
    return fps, (np.searchsorted(starts, ticks + EARLY, side="right") - 1).tolist()


def _timeline(source: VideoSource) -> tuple[list[float], float]:
    """When each frame begins, from 0 on, and when the last one ends, in seconds; VideoError where that is too long."""
    starts: list[float] = []
    first = last = 0.0
    for seconds, duration, _ in _frames(source):
        first, last = seconds if not starts else first, duration
        starts.append(max(seconds - first, starts[-1] if starts else 0.0))
        if starts[-1] > MAX_SECONDS or len(starts) > MAX_DECODED:
            raise VideoError(f"The clip is longer than {MAX_SECONDS} seconds; a clip may have {LIMITS}: cut it.")
    if not starts:
        raise VideoError(f"The clip holds no frame that could be decoded; {SAVE_AS}.")
    usual = float(np.median(np.diff(starts))) if len(starts) > 1 else 0.0
    end = starts[-1] + (max(last, usual) or 0.1)  # some writers give the last frame no duration
    if end > MAX_SECONDS + 1:
        raise VideoError(f"The clip is longer than {MAX_SECONDS} seconds; a clip may have {LIMITS}: cut it.")
    return starts, end


def _pictures(source: VideoSource, shown: Sequence[int]) -> Iterator[Image.Image]:
    """The frames of these numbers, which never go down; one that is shown for long is the same object each time."""
    times = Counter(shown)
    for index, (_, _, read) in enumerate(_frames(source)):
        if index in times:
            picture = read()
            for _ in range(times[index]):
                yield picture
            del picture  # before the next one is made
        if index == shown[-1]:
            return


@contextmanager
def _open_file(source: VideoSource) -> Iterator[IO[bytes]]:
    """FFmpeg gets an open file and never a name: a name could be an address."""
    if isinstance(source, bytes):
        yield io.BytesIO(source)
        return
    if not Path(source).is_file():
        raise VideoError(f"There is no file {Path(source).name!r}; {READABLE}.")
    with Path(source).open("rb") as file:
        yield file


def _frames(source: VideoSource) -> Iterator[Timed]:
    """Every frame in the order in which a player shows them."""
    with _open_file(source) as file:
        kind = _kind(file)
        yield from _gif_frames(file) if kind == "gif" else _video_frames(file, kind)


def _kind(file: IO[bytes]) -> str:
    """From the first bytes, never the name: FFmpeg would also open playlists, which can name other files."""
    head = file.read(12)
    file.seek(0)
    if head[:4] == b"GIF8":
        return "gif"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    if demuxer := DEMUXERS.get(head[4:8].decode("latin-1")):
        return demuxer
    if head.startswith(AUDIO) or head[8:12] == b"WAVE":
        raise VideoError(f"This is an audio file, which holds no pictures; {READABLE}.")
    raise VideoError(f"This isn't an MP4, WebM or GIF file; {READABLE}, {LIMITS}.")


def _video_frames(file: IO[bytes], demuxer: str) -> Iterator[Timed]:
    try:
        with av.open(file, "r", format=demuxer, options={"protocol_whitelist": "none"}) as container:
            stream = _video_stream(container, file)
            size = _shown_size(stream)
            seconds, duration = 0.0, float(1 / (stream.average_rate or 25))
            for frame in _decode(container, stream):
                # Some files carry no time stamps: then the frames' rate tells the time.
                seconds = seconds + duration if frame.time is None else frame.time
                if frame.duration and frame.time_base:
                    duration = float(frame.duration * frame.time_base)
                yield seconds, duration, lambda frame=frame: _as_shown(frame, size)
    except FFmpegError as error:
        raise VideoError(f"This clip is damaged or cut short ({error.strerror}); {SAVE_AS}.") from error


def _video_stream(container: InputContainer, file: IO[bytes]) -> av.VideoStream:
    """The stream with the moving picture; VideoError where there is none, or none that can be decoded here."""
    streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not streams:
        what = "sound alone" if container.streams.audio else "no video"
        raise VideoError(f"This file holds {what}: there are no frames to look at; {READABLE}.")
    codec = streams[0].codec_context and streams[0].codec_context.codec.canonical_name
    if codec not in DECODERS:
        raise VideoError(f"The clip is coded as {codec or _codec_tag(file)}, which can't be decoded here; {SAVE_AS}.")
    _check_pixels(streams[0].width, streams[0].height)
    streams[0].codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # a later frame may claim another size
    streams[0].codec_context.thread_count = 4  # each holds a frame
    return streams[0]


def _codec_tag(file: IO[bytes]) -> str:
    """What the file itself calls its video's codec, where FFmpeg has no name for it."""
    size, part = file.seek(0, io.SEEK_END), 2**20
    file.seek(0)
    ends = file.read(part)
    file.seek(max(0, size - part))
    tag = re.search(rb"vmhd.*?stsd.{12}([!-~]{4})|(V_[!-~]+)", ends + file.read(), re.DOTALL)
    return next(filter(None, tag.groups())).decode() if tag else "something unknown"


def _decode(container: InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """Frame after frame; packets that can't be decoded are passed over, as players do."""
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except InvalidDataError:
            continue


def _shown_size(stream: av.VideoStream) -> tuple[int, int]:
    """(width, height) in square pixels, before turning: a pixel's shorter side is drawn out, so nothing is lost."""
    aspect = float(stream.sample_aspect_ratio or 1)
    width, height = stream.width, stream.height
    size = (round(width * aspect), height) if aspect >= 1 else (width, round(height / aspect))
    _check_pixels(*size)
    return size


def _as_shown(frame: av.VideoFrame, size: tuple[int, int]) -> Image.Image:
    """The frame as RGB in square pixels, turned and mirrored as its display matrix says."""
    picture = frame.to_image()
    if picture.size != size:  # a stream may change its size: a player's window stays
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    matrix = frame.side_data.get("DISPLAYMATRIX")
    return turn(picture, np.frombuffer(matrix, np.int32)) if matrix else picture


def turn(picture: Image.Image, matrix: Shaped[np.ndarray, "9"]) -> Image.Image:
    """The picture under a display matrix (a, b, u, c, d, v, …): a point goes to x' = ax + cy, y' = bx + dy.

    Angles between the right ones are taken to the nearest, as browsers do.
    """
    a, b, _, c, d = (int(value) for value in matrix[:5])
    if abs(b) + abs(c) > abs(a) + abs(d):
        picture, a, d = picture.transpose(Image.Transpose.TRANSPOSE), c, b
    if a < 0:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM) if d < 0 else picture


def _gif_frames(file: IO[bytes]) -> Iterator[Timed]:
    try:
        with Image.open(file, formats=["GIF"]) as image:
            _check_pixels(*image.size)
            milliseconds = 0.0
            for frame in ImageSequence.Iterator(image):
                delay = frame.info.get("duration") or 0
                delay = delay if delay > SHORTEST_GIF_DELAY else GIF_DELAY
                yield milliseconds / 1000, delay / 1000, lambda frame=frame: open_image(frame.copy())
                milliseconds += delay
    except (OSError, SyntaxError, ValueError, EOFError, UnidentifiedImageError) as error:
        raise VideoError("This GIF is damaged; save it again.") from error


def _check_pixels(width: int, height: int) -> None:
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise VideoError(f"The clip's frames are {width}x{height} pixels; a clip may have {LIMITS}.")
