"""Read a short clip: MP4 and WebM through OpenCV, GIF through Pillow, within limits that errors name."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from os import PathLike
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageSequence, UnidentifiedImageError

from explorer.data.images import open_image
from explorer.errors import VideoError

VideoSource = str | PathLike[str] | bytes
MAX_SECONDS = 30
MAX_FRAMES = 300
MAX_PIXELS = 3840 * 2160  # of one frame
Timed = tuple[float, Callable[[], Image.Image]]  # seconds, and what decodes the frame before the next one is asked for
LIMITS = f"at most {MAX_SECONDS} seconds, {MAX_FRAMES} frames and 3840x2160 pixels"
READABLE = "MP4, WebM and GIF clips work"


class Frames(Sequence[Image.Image]):
    """Pictures that are made anew, one at a time, whenever they are gone through: 300 in full size fill no memory.

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
    """The frames that will be looked at, evenly spaced in time, in the clip's own size."""

    frames: Sequence[Image.Image]  # RGB
    fps: float


def read_clip(source: VideoSource, fps: float = 8.0) -> Clip:
    """The clip's frames, `fps` of them a second or all where it has fewer; each is decoded when it is asked for.

    source: a path or the bytes of a file. Raises VideoError for files that are no MP4, WebM or GIF, that can't be
    decoded, or that pass the limits on seconds, frames and pixels.
    """
    if not 0 < fps <= 60:
        raise VideoError(f"Frames a second must lie above 0 and up to 60, not {fps}.")
    times = [seconds for seconds, _ in _sampled(source, fps)]
    if not times:
        raise VideoError("The clip holds no frame that could be decoded; save it again as MP4, WebM or GIF.")
    span = times[-1] - times[0]
    frames = Frames(len(times), lambda: (read() for _, read in _sampled(source, fps)))
    return Clip(frames, (len(times) - 1) / span if span > 0 else fps)


def pan(image: Image.Image, frames: int = 16, fps: float = 8.0) -> Clip:
    """A clip made of one photo: a square window moves from its upper left to its lower right corner."""
    side = round(0.7 * min(image.size))
    steps = [index / max(frames - 1, 1) for index in range(frames)]
    corners = [(round((image.width - side) * step), round((image.height - side) * step)) for step in steps]
    return Clip(Frames(frames, lambda: (image.crop((x, y, x + side, y + side)) for x, y in corners)), fps)


@contextmanager
def _as_path(source: VideoSource) -> Iterator[Path]:
    """OpenCV reads only files: bytes go through a temporary one."""
    if not isinstance(source, bytes):
        if not Path(source).is_file():
            raise VideoError(f"There is no file {Path(source).name!r}; {READABLE}.")
        yield Path(source)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip"
        path.write_bytes(source)
        yield path


def _kind(path: Path) -> str:
    """From the first bytes, never the name: FFmpeg would also open playlists, which can name other files."""
    with path.open("rb") as file:
        head = file.read(12)
    if head[:4] == b"GIF8":
        return "gif"
    if head[4:8] == b"ftyp":
        return "mp4"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "webm"
    raise VideoError(f"This is no MP4, WebM or GIF file; {READABLE}, {LIMITS}.")


def _sampled(source: VideoSource, fps: float) -> Iterator[Timed]:
    """The first frame at or after each tick of the clock; VideoError where there are too many."""
    with _as_path(source) as path:
        count = 0
        for seconds, read in _gif_frames(path) if _kind(path) == "gif" else _video_frames(path):
            if seconds > MAX_SECONDS:
                raise VideoError(f"The clip is longer than {MAX_SECONDS} seconds; a clip may have {LIMITS}: cut it.")
            if seconds + 1e-6 < count / fps:
                continue
            if count == MAX_FRAMES:
                raise VideoError(
                    f"The clip has more than {MAX_FRAMES} frames at {fps:g} a second; a clip may have {LIMITS}: "
                    "cut it, or take fewer frames a second."
                )
            yield seconds, read
            count += 1


def _video_frames(path: Path) -> Iterator[Timed]:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        _check_pixels(int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
        rate = capture.get(cv2.CAP_PROP_FPS) or 25.0
        index = 0
        while capture.grab():
            seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            # Some files carry no time stamps: then the frames' number and rate tell the time.
            yield seconds if seconds > 0 or index == 0 else index / rate, lambda: _grabbed(capture)
            index += 1
    finally:
        capture.release()


def _grabbed(capture: cv2.VideoCapture) -> Image.Image:
    """The frame that was grabbed last."""
    there, pixels = capture.retrieve()
    if not there:
        raise VideoError("A frame of this clip can't be decoded; save it again as MP4, WebM or GIF.")
    return Image.fromarray(np.ascontiguousarray(pixels[:, :, ::-1]))


def _gif_frames(path: Path) -> Iterator[Timed]:
    try:
        with Image.open(path, formats=["GIF"]) as image:
            _check_pixels(*image.size)
            milliseconds = 0.0
            for frame in ImageSequence.Iterator(image):
                yield milliseconds / 1000, lambda frame=frame: open_image(frame.copy())
                milliseconds += frame.info.get("duration") or 100  # browsers play a missing duration as 100 ms
    except (OSError, SyntaxError, ValueError, EOFError, UnidentifiedImageError) as error:
        raise VideoError("This GIF is damaged; save it again.") from error


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise VideoError(f"The clip's frames are {width}x{height} pixels; a clip may have {LIMITS}.")
