"""Read a short clip, MP4, WebM or GIF, through PyAV (FFmpeg), within limits that errors name."""

import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import IO, NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError, InvalidDataError
from av.stream import Disposition
from av.video.reformatter import Colorspace
from jaxtyping import Shaped
from PIL import Image

from explorer.data.images import open_image
from explorer.errors import VideoError

VideoSource = str | PathLike[str] | bytes
MAX_SECONDS = 30
MAX_FRAMES = 300
MAX_PIXELS = 3840 * 2160  # of one frame
MAX_DECODED = 240 * MAX_SECONDS  # frames, however close together their time stamps lie: phones film up to 240 fps
LIMITS = f"at most {MAX_SECONDS} seconds, {MAX_FRAMES} frames and 3840 × 2160 pixels"
READABLE = "MP4, WebM and GIF clips work"
SAVE_AS = "save it again as MP4 with H.264, as WebM with VP9, or as GIF"
DEMUXERS = {"ftyp": "mov", "moov": "mov", "mdat": "mov", "wide": "mov", "free": "mov", "skip": "mov"}
# FFmpeg has hundreds of decoders, each of which an upload could attack: those of cameras, screens, phones and the web.
DECODERS = {
    *("h264", "hevc", "vvc", "vp8", "vp9", "av1", "mpeg4", "h263", "mjpeg", "prores", "dnxhd"),
    *("mpeg1video", "mpeg2video", "theora", "ffv1", "qtrle", "png", "gif"),
}
PHOTOS = {b"avif", b"heic", b"heix", b"heim", b"heis", b"mif1", b"mif2"}  # stills in MP4's kind of file
AUDIO = (b"ID3", b"fLaC", b"\xff\xfb", b"\xff\xf3", b"\xff\xf1")
GIF_DELAY, SHORTEST_GIF_DELAY = 0.1, 0.01  # seconds: browsers show every frame of 0.01 or less for 0.1
TICK = 0.002  # seconds: a last frame that lasts no longer was given no duration by its writer
SLIDE = 0.25  # seconds: of films whose frames last no longer, the last one lasts as long as the others
UNKNOWN = 2  # FFmpeg's number of a matrix of colours that the file doesn't name
LARGEST_SD = 576  # rows of a picture whose colours are those of standard definition, where the file doesn't say
STEADY = 0.011  # seconds by which frames of one rate may be off their beat: a GIF's delays are whole hundredths
EARLY = 0.0006  # seconds before a frame begins at which it counts as begun: WebM's stamps are whole milliseconds


class Timed(NamedTuple):
    """A frame: when it begins and how long it lasts in seconds, whether that's sure, and what makes the picture."""

    begins: float
    lasts: float
    sure: bool
    read: Callable[[], Image.Image]


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
    rate = len(starts) / end
    off_beat = np.abs(np.array(starts) - np.arange(len(starts)) / rate).max()
    if off_beat <= STEADY and rate <= 1.02 * fps:
        return rate, list(range(len(starts)))
    ticks = np.arange(max(1, round(end * fps))) / fps
    return fps, (np.searchsorted(starts, ticks + EARLY, side="right") - 1).tolist()


def _timeline(source: VideoSource) -> tuple[list[float], float]:
    """When each frame begins, from 0 on, and when the last one ends, in seconds; VideoError where that is too long."""
    _check_length(source)
    starts: list[float] = []
    first, frame = 0.0, None
    for frame in _frames(source):
        first = first if starts else frame.begins
        starts.append(max(frame.begins - first, starts[-1] if starts else 0.0))
        if starts[-1] > MAX_SECONDS or len(starts) > MAX_DECODED:
            raise VideoError(f"The clip is longer than {MAX_SECONDS} seconds; a clip may have {LIMITS}: cut it.")
    if frame is None:
        raise VideoError(f"The clip holds no frame that could be decoded; {SAVE_AS}.")
    usual = float(np.median(np.diff(starts))) if len(starts) > 1 else 0.0
    if not frame.sure and frame.lasts < (usual if usual <= SLIDE else TICK):
        frame = frame._replace(lasts=usual)  # writers often don't know how long the last one lasts
    end = starts[-1] + (frame.lasts or 0.1)
    if end > MAX_SECONDS + 1:
        raise VideoError(f"The clip is longer than {MAX_SECONDS} seconds; a clip may have {LIMITS}: cut it.")
    return starts, end


def _pictures(source: VideoSource, shown: Sequence[int]) -> Iterator[Image.Image]:
    """The frames of these numbers, which never go down; one that is shown for long is the same object each time."""
    times = Counter(shown)
    for index, frame in enumerate(_frames(source)):
        if index in times:
            picture = frame.read()
            for _ in range(times[index]):
                yield picture
            del picture, frame  # before the next one is made
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


@contextmanager
def _opened(source: VideoSource) -> Iterator[tuple[InputContainer, av.VideoStream, bool]]:
    """The file, its film and whether it is a GIF; VideoError for what can't be read, then and while it is."""
    with _open_file(source) as file:
        demuxer, options = _demuxer(file), {"protocol_whitelist": "none"}
        try:
            with av.open(file, "r", format=demuxer, options=options, metadata_errors="ignore") as container:
                yield container, _video_stream(container, file), demuxer == "gif"
        except FFmpegError as error:
            raise VideoError(f"This clip is damaged or cut short ({error.strerror}); {SAVE_AS}.") from error


def _check_length(source: VideoSource) -> None:
    """Raise VideoError for a film that is too long before any of it is decoded, by the times of what is stored."""
    with _opened(source) as (container, stream, _):
        first = None
        for number, packet in enumerate(container.demux(stream)):
            if packet.pts is None or packet.is_discard:
                continue
            begins = float(packet.pts * packet.time_base)
            first = begins if first is None else min(first, begins)
            if begins - first > MAX_SECONDS or number > MAX_DECODED:
                raise VideoError(f"The clip is longer than {MAX_SECONDS} seconds; a clip may have {LIMITS}: cut it.")


def _frames(source: VideoSource) -> Iterator[Timed]:
    """Every frame in the order in which a player shows them."""
    with _opened(source) as (container, stream, is_gif):
        yield from _timed(container, stream, is_gif)


def _demuxer(file: IO[bytes]) -> str:
    """From the first bytes, never the name: FFmpeg would also open playlists, which can name other files."""
    head = file.read(12)
    file.seek(0)
    if head[:4] == b"GIF8":
        return "gif"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    if head[4:8] == b"ftyp" and head[8:12] in PHOTOS:
        raise VideoError(f"This is a photo, which doesn't move; {READABLE}.")
    if demuxer := DEMUXERS.get(head[4:8].decode("latin-1")):
        return demuxer
    if head.startswith(AUDIO) or head[8:12] == b"WAVE":
        raise VideoError(f"This is an audio file, which holds no pictures; {READABLE}.")
    raise VideoError(f"This isn't an MP4, WebM or GIF file; {READABLE}, {LIMITS}.")


def _timed(container: InputContainer, stream: av.VideoStream, is_gif: bool) -> Iterator[Timed]:
    size, usual = _shown_size(stream), float(1 / (stream.average_rate or 25))
    begins = lasts = 0.0
    matrix = None
    for number, frame in enumerate(_decode(container, stream), start=1):
        if number == 1:  # of this frame alone, though all have it: a frame whose side data was read is in a circle
            matrix = _display_matrix(frame)
        # Players don't go by a GIF's own times, and some films have none: then each frame follows the one before.
        begins = begins + (lasts or usual) if is_gif or frame.time is None else frame.time
        lasts = float(frame.duration * frame.time_base) if frame.time_base else 0.0
        if is_gif:
            lasts = lasts if lasts > SHORTEST_GIF_DELAY else GIF_DELAY
        elif number == stream.frames and stream.duration and stream.start_time is not None and stream.time_base:
            # Where frames are stored in another order than shown, the last one carries the duration of another.
            lasts = float((stream.start_time + stream.duration) * stream.time_base) - begins
        yield Timed(begins, lasts, is_gif, partial(_as_shown, frame, size, matrix))


def _video_stream(container: InputContainer, file: IO[bytes]) -> av.VideoStream:
    """The stream with the moving picture; VideoError where there is none, or none that can be decoded here."""
    stream = container.streams.best("video")
    if not isinstance(stream, av.VideoStream) or stream.disposition & Disposition.attached_pic:
        what = "sound alone" if container.streams.audio else "no video"
        raise VideoError(f"This file holds {what}: there are no frames to look at; {READABLE}.")
    codec = stream.codec_context and stream.codec_context.codec.canonical_name
    if codec not in DECODERS:
        raise VideoError(f"The clip is coded as {codec or _codec_tag(file)}, which can't be decoded here; {SAVE_AS}.")
    _check_pixels(stream.width, stream.height)
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # a later frame may claim another size
    stream.codec_context.thread_count = 4  # each holds a frame
    return stream


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


def _display_matrix(frame: av.VideoFrame) -> np.ndarray | None:
    matrix = frame.side_data.get("DISPLAYMATRIX")
    return np.frombuffer(matrix, np.int32).copy() if matrix else None


def _as_shown(frame: av.VideoFrame, size: tuple[int, int], matrix: np.ndarray | None) -> Image.Image:
    """The frame as RGB in square pixels on white, turned and mirrored as the film's display matrix says."""
    picture = _in_colour(frame)
    if picture.size != size:  # a stream may change its size: a player's window stays
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    return picture if matrix is None else turn(picture, matrix)


def _in_colour(frame: av.VideoFrame) -> Image.Image:
    if any(component.is_alpha for component in frame.format.components):
        return open_image(Image.fromarray(frame.to_ndarray(format="rgba")))
    if frame.colorspace == UNKNOWN and not frame.format.is_rgb and frame.height > LARGEST_SD:
        return frame.to_image(src_colorspace=Colorspace.ITU709)
    return frame.to_image()


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


def _check_pixels(width: int, height: int) -> None:
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise VideoError(f"The clip's frames are {width}x{height} pixels; a clip may have {LIMITS}.")
