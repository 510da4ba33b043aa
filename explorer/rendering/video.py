"""Attention over a clip: every frame's map in one colour scale, as MP4 or GIF."""

import io
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image

from explorer.attention.recording import record
from explorer.data.video import Clip
from explorer.errors import VideoError
from explorer.rendering.view import View, paint, second_recording, shown_map, shown_mask

if TYPE_CHECKING:
    from explorer.attention.recording import Recording
    from explorer.models.backbone import Model

Progress = Callable[[int, int], None]  # frames done, frames in all; raise from it to stop
# VP9 is what OpenCV's wheels can write everywhere and browsers play; their H.264 encoder exists on few machines.
CODEC = "vp09"
PALETTE_FRAMES = 12  # frames that a GIF's colours are chosen from
GAP = 8  # pixels between photo and attention


@dataclass(frozen=True)
class ClipMaps:
    """One map a frame, and the frames as the model saw them."""

    images: list[Image.Image]
    maps: np.ndarray  # (frames, rows, cols) float32
    fps: float


def record_clip(
    model: "Model", clip: Clip, view: View, progress: Progress | None = None, second: "Recording | None" = None
) -> ClipMaps:
    """The view's map of every frame; of each frame only the map and the fitted image stay in memory.

    second: the recording of the image in view.similar_to, where there is one already; else it is made once.
    """
    images, maps = [], []
    second = second or second_recording(view, model)
    for frame in clip.frames:
        recording = record(model, frame, view.size, view.fit)
        images.append(recording.image)
        maps.append(shown_map(view, recording, second))
        if progress:
            progress(len(maps), len(clip.frames))
    return ClipMaps(images, np.stack(maps), clip.fps)


def painted_frames(clip: ClipMaps, view: View, beside: bool = False) -> Iterable[Image.Image]:
    """Every frame with its map, lowest to highest of the whole clip in one colour scale; beside: after the photo."""
    low, high = (0.0, 1.0) if view.scale == "raw" else (float(clip.maps.min()), float(clip.maps.max()))
    for image, heatmap in zip(clip.images, clip.maps, strict=True):
        painted = paint(view, image, heatmap, low, high, shown_mask(view, heatmap))
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
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        writer = None
        try:
            for done, frame in enumerate(frames, start=1):
                # The codec's colours need an even number of rows and columns.
                pixels = np.array(frame)[: frame.height // 2 * 2, : frame.width // 2 * 2, ::-1]
                writer = writer or _writer(path, fps, pixels.shape[1], pixels.shape[0])
                writer.write(np.ascontiguousarray(pixels))
                if progress:
                    progress(done, total)
        finally:
            if writer:
                writer.release()
        return path.read_bytes()


def _writer(path: Path, fps: float, width: int, height: int) -> cv2.VideoWriter:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*CODEC), fps, (width, height))
    if not writer.isOpened():
        raise VideoError("This OpenCV can't write VP9 video: save a GIF, or install the opencv-python-headless wheel.")
    return writer


def gif(frames: Iterable[Image.Image], fps: float) -> bytes:
    """The frames as an endless GIF; all share one palette, so that nothing flickers."""
    pictures = list(frames)
    some = [pictures[index] for index in np.linspace(0, len(pictures) - 1, PALETTE_FRAMES).astype(int)]
    palette = side_by_side(some, gap=0).quantize(255)
    paletted = [picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for picture in pictures]
    file = io.BytesIO()
    paletted[0].save(
        file, "GIF", save_all=True, append_images=paletted[1:], duration=round(100 / fps) * 10, loop=0, disposal=1
    )
    return file.getvalue()
