"""Read a short clip: MP4 and WebM through OpenCV, GIF through Pillow, within limits that errors name."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import cv2
from PIL import Image, ImageSequence, UnidentifiedImageError

from explorer.data.images import open_image
from explorer.errors import VideoError

VideoSource = str | PathLike[str] | bytes
MAX_SECONDS = 30
MAX_FRAMES = 300
MAX_PIXELS = 3840 * 2160  # of one frame
SHORT_SIDE = 720  # frames are kept at most this large, so that 300 of them fit into memory
LIMITS = f"at most {MAX_SECONDS} seconds, {MAX_FRAMES} frames and 3840x2160 pixels"
READABLE = "MP4, WebM and GIF clips work"


@dataclass(frozen=True)
class Clip:
    """The frames that will be looked at, evenly spaced in time."""

    frames: list[Image.Image]  # RGB
    fps: float


def read_clip(source: VideoSource, fps: float = 8.0) -> Clip:
    """The clip's frames, `fps` of them a second or all where it has fewer.

    source: a path or the bytes of a file. Raises VideoError for files that are no MP4, WebM or GIF, that can't be
    decoded, or that pass the limits on seconds, frames and pixels.
    """
    if not 0 < fps <= 60:
        raise VideoError(f"Frames a second must lie above 0 and up to 60, not {fps}.")
    with _as_path(source) as path:
        timed = _gif_frames(path) if _kind(path) == "gif" else _video_frames(path)
        frames, times = _sample(timed, fps)
    if not frames:
        raise VideoError("The clip holds no frame that could be decoded; save it again as MP4, WebM or GIF.")
    span = times[-1] - times[0]
    return Clip(frames, (len(times) - 1) / span if span > 0 else fps)


def pan(image: Image.Image, frames: int = 16, fps: float = 8.0) -> Clip:
    """A clip made of one photo: a square window moves from its upper left to its lower right corner."""
    side = round(0.7 * min(image.size))
    steps = [index / max(frames - 1, 1) for index in range(frames)]
    corners = [(round((image.width - side) * step), round((image.height - side) * step)) for step in steps]
    return Clip([image.crop((x, y, x + side, y + side)) for x, y in corners], fps)


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


def _video_frames(path: Path) -> Iterator[tuple[float, Image.Image]]:
    """(seconds, frame) one after another."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        _check_pixels(int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
        rate = capture.get(cv2.CAP_PROP_FPS) or 25.0
        index = 0
        while (read := capture.read())[0]:
            seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            # Some files carry no time stamps: then the frames' number and rate tell the time.
            yield seconds if seconds > 0 or index == 0 else index / rate, Image.fromarray(read[1][:, :, ::-1])
            index += 1
    finally:
        capture.release()


def _gif_frames(path: Path) -> Iterator[tuple[float, Image.Image]]:
    try:
        with Image.open(path, formats=["GIF"]) as image:
            _check_pixels(*image.size)
            milliseconds = 0.0
            for frame in ImageSequence.Iterator(image):
                yield milliseconds / 1000, open_image(frame.copy())
                milliseconds += frame.info.get("duration") or 100  # browsers play a missing duration as 100 ms
    except (OSError, SyntaxError, ValueError, EOFError, UnidentifiedImageError) as error:
        raise VideoError("This GIF is damaged; save it again.") from error


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise VideoError(f"The clip's frames are {width}x{height} pixels; a clip may have {LIMITS}.")


def _sample(timed: Iterator[tuple[float, Image.Image]], fps: float) -> tuple[list[Image.Image], list[float]]:
    """The first frame at or after each tick of the clock."""
    frames: list[Image.Image] = []
    times: list[float] = []
    for seconds, frame in timed:
        if seconds > MAX_SECONDS:
            raise VideoError(f"The clip is longer than {MAX_SECONDS} seconds; a clip may have {LIMITS}: cut it.")
        if seconds + 1e-6 < len(frames) / fps:
            continue
        if len(frames) == MAX_FRAMES:
            raise VideoError(
                f"The clip has more than {MAX_FRAMES} frames at {fps:g} a second; a clip may have {LIMITS}: "
                "cut it, or take fewer frames a second."
            )
        frame.thumbnail((10**6, SHORT_SIDE) if frame.width >= frame.height else (SHORT_SIDE, 10**6))
        frames.append(frame)
        times.append(seconds)
    return frames, times
