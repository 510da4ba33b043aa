"""The prefix cache: what the frozen blocks make of each image and view, computed once, kept on disk, memory-mapped."""

import hashlib
import mmap
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from math import prod
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Integer, Shaped, UInt8
from torch import Tensor

from explorer.data.images import ImageSource
from explorer.errors import TrainingError
from explorer.models.backbone import Model
from explorer.models.device_memory import in_fitting_batches
from explorer.training.plan import Plan
from explorer.training.runs.json_files import read_json, write_json
from explorer.training.split import Split

HALF_ABOVE = 10**9  # bytes: below, float32 costs nothing that matters; above, halving it does
CHUNK = 32  # images per forward pass of the prefix
RESIDENT = 256 * 2**20  # bytes read through the map before its pages are handed back


@dataclass(frozen=True)
class Layout:
    """What a cache file holds: images x views rows of `shape`, in C order; `key` tells the images and weights."""

    images: int
    views: int
    shape: tuple[int, ...]
    dtype: str  # float32 | float16 | uint8
    key: str

    @property
    def row_bytes(self) -> int:
        return prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def bytes(self) -> int:
        return self.images * self.views * self.row_bytes


def plan_layout(split: Split, plan: Plan, images: int, views: int, key: str = "") -> Layout:
    """The cache that `images` images need: pooled features, tokens, or (where all blocks are trained) 8-bit pixels."""
    if split.kind == "pixels":
        return Layout(images, 1, (split.size, split.size, 3), "uint8", key)  # mirrored when read, at no cost
    layout = Layout(images, views, split.row_shape, "float32", key)
    half = plan.cache_precision == "float16" or (plan.cache_precision == "auto" and layout.bytes > HALF_ABOVE)
    # Pooled features are small and go straight into the head: never halved.
    return replace(layout, dtype="float16") if half and split.kind == "tokens" else layout


class PrefixCache:
    """Rows of a finished cache file, read by (image, view)."""

    def __init__(self, path: Path, layout: Layout):
        self.layout = layout
        with path.open("rb") as file:
            self._pages = mmap.mmap(file.fileno(), layout.bytes, access=mmap.ACCESS_READ)
        shape = (layout.images, layout.views, *layout.shape)
        self._rows: np.ndarray = np.ndarray(shape, layout.dtype, self._pages)
        self._read = 0

    def __len__(self) -> int:
        return self.layout.images

    def rows(
        self, images: Integer[np.ndarray, " row"], views: Integer[np.ndarray, " row"] | int = 0
    ) -> Shaped[Tensor, "row ..."]:
        """Rows for these images and views in the dtype of the file."""
        rows = torch.from_numpy(self._rows[images, views])
        self._read += rows.nbytes
        if self._read > RESIDENT:
            self._let_go()
        return rows

    def _let_go(self) -> None:
        """Pages stay in the system's file cache, but no longer count as this process's memory."""
        self._read = 0
        if hasattr(mmap, "MADV_DONTNEED"):
            self._pages.madvise(mmap.MADV_DONTNEED)


def build_cache(
    path: Path,
    layout: Layout,
    split: Split,
    model: Model,
    images: Sequence[ImageSource],
    rank: int = 0,
    world: int = 1,
) -> Iterator[int]:
    """Fill this process's share of a cache file; yields the number of images done after each chunk.

    Processes write disjoint rows of one file, then open it after a barrier. A whole file with the same layout and key
    is kept as it is. Plain writes, no writable map: on a full disk they raise OSError, a map would kill the process.
    """
    note = path.with_suffix(".json")
    if note.is_file() and read_json(note) == _as_json(layout):
        yield len(images)
        return
    note.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    first, end = len(images) * rank // world, len(images) * (rank + 1) // world
    path.open("ab").close()  # made, but not emptied: another process may have begun to fill it
    with path.open("r+b") as file:
        file.truncate(layout.bytes)
        done = first
        file.seek(first * layout.views * layout.row_bytes)
        for pixels in decode(model, images[first:end], split.size):
            file.write(_rows(split, layout, model, pixels).data)
            done += len(pixels)
            yield done - first


def finish_cache(path: Path, layout: Layout) -> None:
    """Mark a cache file whole, after all processes have written; raises TrainingError for one of another length."""
    if path.stat().st_size != layout.bytes:
        raise TrainingError(f"The cache {path.name} is {path.stat().st_size} bytes, not {layout.bytes}: start again.")
    write_json(path.with_suffix(".json"), _as_json(layout))


def weights_key(model: Model) -> str:
    """Names the weights of the model that a cache is made with."""
    digest = hashlib.sha256()
    for parameter in model.module.parameters():
        whole = parameter.detach().cpu().sum(dtype=torch.float64)  # which MPS lacks
        digest.update(repr(float(whole)).encode())
    return digest.hexdigest()


def cache_key(weights: str, plan: Plan, images: Sequence[ImageSource]) -> str:
    """Names the images, the plan's part in it and the weights (weights_key) that a cache is made from."""
    digest = hashlib.sha256(f"{weights} {plan.train} {plan.image_size} {len(images)}".encode())
    for image in images:
        digest.update(str(image).encode())
    return digest.hexdigest()


def decode(
    model: Model, images: Sequence[ImageSource], size: int
) -> Iterator[UInt8[np.ndarray, "image height width 3"]]:
    """Chunks of fitted images, decoded in threads while the last chunk is used."""
    return decode_batches(model, (images[start : start + CHUNK] for start in range(0, len(images), CHUNK)), size)


def decode_batches(
    model: Model, batches: Iterable[Sequence[ImageSource]], size: int
) -> Iterator[UInt8[np.ndarray, "image height width 3"]]:
    """Each batch of images, fitted, decoded in threads while the last batch is used."""

    def fit(image: ImageSource) -> UInt8[np.ndarray, "height width 3"]:
        return np.array(model.fit(image, size, "crop"))  # as checkpoints say of themselves

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        ahead: list[Future] = []
        for batch in batches:
            following = [pool.submit(fit, image) for image in batch]
            if ahead:
                yield np.stack([future.result() for future in ahead])
            ahead = following
        if ahead:
            yield np.stack([future.result() for future in ahead])


def _rows(split: Split, layout: Layout, model: Model, pixels: np.ndarray) -> np.ndarray:
    """A chunk's rows "image view …" in the cache's dtype."""
    if split.kind == "pixels":
        return pixels[:, None]

    def run(some: Sequence[np.ndarray]) -> np.ndarray:
        inputs = model.normalise(torch.from_numpy(np.stack(some)).to(split.device))
        views = [inputs, inputs.flip(-1)][: layout.views]
        rows = torch.stack([split.prefix(view) for view in views], dim=1)
        return rows.to(getattr(torch, layout.dtype)).cpu().numpy()

    return np.concatenate(list(in_fitting_batches(list(pixels), run)))


def _as_json(layout: Layout) -> dict:
    return {**asdict(layout), "shape": list(layout.shape)}
