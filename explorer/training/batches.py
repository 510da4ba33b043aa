"""Where a trainer's batches come from: a prefix cache, or files decoded (and augmented) in each epoch."""

import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Integer
from timm.data.transforms_factory import create_transform
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from explorer.data.images import ImageSource, open_image
from explorer.models.backbone import Model
from explorer.models.device_memory import in_fitting_batches
from explorer.training.cache import PrefixCache, decode_batches
from explorer.training.split import Split


@dataclass(frozen=True)
class Batch:
    """One step's share of one process. `weight` is 0 for a stand-in where a process has no image of its own left."""

    images: np.ndarray  # indices into the set
    views: np.ndarray  # 0 as it is, 1 mirrored
    weight: float = 1.0


class CachedInputs:
    """Batches read from a prefix cache."""

    def __init__(self, cache: PrefixCache, model: Model, device: torch.device):
        self.cache, self.model, self.device = cache, model, device

    def __len__(self) -> int:
        return len(self.cache)

    def epoch(self, batches: Sequence[Batch], seed: int) -> Iterator[Tensor]:
        """What Split.forward takes, for each batch."""
        return (self._read(batch.images, batch.views) for batch in batches)

    def _read(
        self, images: Integer[np.ndarray, " row"], views: Integer[np.ndarray, " row"]
    ) -> Float[Tensor, "row ..."]:
        if self.cache.layout.dtype != "uint8":
            return self.cache.rows(images, views).to(self.device).float()
        return mirror(self.model.normalise(self.cache.rows(images).to(self.device)), views)


class UncachedInputs:
    """What the cache would hold, computed in each epoch: for sets too large for the disk.

    autocast: a context for the frozen blocks, in the trainer's precision.
    """

    def __init__(
        self,
        images: Sequence[ImageSource],
        model: Model,
        split: Split,
        autocast: Callable[..., AbstractContextManager] = nullcontext,
    ):
        self.images, self.model, self.split, self.autocast = images, model, split, autocast

    def __len__(self) -> int:
        return len(self.images)

    def epoch(self, batches: Sequence[Batch], seed: int) -> Iterator[Tensor]:
        """What Split.forward takes, for each batch."""
        files = ([self.images[index] for index in batch.images] for batch in batches)
        decoded = decode_batches(self.model, files, self.split.size)
        for batch, pixels in zip(batches, decoded, strict=True):
            yield self._rows(mirror(self.model.normalise(torch.from_numpy(pixels).to(self.split.device)), batch.views))

    def _rows(self, pixels: Float[Tensor, "image channel row col"]) -> Float[Tensor, "image ..."]:
        def prefix(part: Sequence[int]) -> Tensor:
            return self.split.prefix(pixels[part[0] : part[-1] + 1])

        with self.autocast():
            return torch.cat(list(in_fitting_batches(range(len(pixels)), prefix))).float()


def mirror(
    pixels: Float[Tensor, "image channel row col"], views: Integer[np.ndarray, " image"]
) -> Float[Tensor, "image channel row col"]:
    """The same pixels, those of view 1 mirrored in place."""
    mirrored = torch.from_numpy(views.astype(bool)).to(pixels.device)
    pixels[mirrored] = pixels[mirrored].flip(-1)
    return pixels


class AugmentedInputs:
    """Batches decoded and augmented by worker processes with timm's training transform."""

    def __init__(self, images: Sequence[ImageSource], model: Model, size: int, device: torch.device):
        self.images, self.device = images, device
        self.transform: Any = create_transform(
            size,
            is_training=True,
            scale=(0.35, 1.0),  # the crop must keep the object: small sets have no photos to waste
            # mmax: at magnitude 10 timm posterizes to 0 bits, which Pillow refuses.
            auto_augment="rand-m9-mstd0.5-mmax9-inc1",
            interpolation=model.interpolation,
            mean=model.mean,
            std=model.std,
        )

    def __len__(self) -> int:
        return len(self.images)

    def epoch(self, batches: Sequence[Batch], seed: int) -> Iterator[Tensor]:
        """Normalised pixels for each batch; image i of epoch `seed` always gets the same random draw."""
        loader = DataLoader(
            _Augmented(self.images, self.transform, seed),
            batch_sampler=[batch.images.tolist() for batch in batches],
            num_workers=loader_workers(len(self.images)),
        )
        return (pixels.to(self.device) for pixels in loader)


def loader_workers(images: int) -> int:
    """Decoding processes: one per spare core, none for sets so small that starting them would take longer."""
    return 0 if images < 200 else min(4, max(1, (os.cpu_count() or 1) - 1))


class _Augmented(Dataset):
    def __init__(self, images: Sequence[ImageSource], transform, seed: int):
        self.images, self.transform, self.seed = images, transform, seed

    def __getitem__(self, index: int) -> Tensor:
        # timm's transforms draw from three global generators; seeding each makes the draw independent of workers and
        # of where a resumed run began.
        draw = int(np.random.SeedSequence([self.seed, index]).generate_state(1)[0])
        random.seed(draw)
        np.random.seed(draw)
        torch.manual_seed(draw)
        return self.transform(open_image(self.images[index]))


def plan_batches(count: int, batch_size: int, views: int, seed: int, rank: int = 0, world: int = 1) -> list[Batch]:
    """One epoch in random order: every process draws the same order and takes every world-th image of each batch."""
    draw = np.random.default_rng(seed)
    order, view = draw.permutation(count), draw.integers(views, size=count)
    return [
        _share(order[start : start + batch_size], view[start : start + batch_size], rank, world)
        for start in range(0, count, batch_size)
    ]


def in_order(count: int, batch_size: int, rank: int = 0, world: int = 1) -> list[Batch]:
    """The set in its own order, unmirrored, for evaluation."""
    images = np.arange(count)
    return [
        _share(images[start : start + batch_size], np.zeros(min(batch_size, count - start), int), rank, world)
        for start in range(0, count, batch_size)
    ]


def _share(images: np.ndarray, views: np.ndarray, rank: int, world: int) -> Batch:
    mine = slice(rank, None, world)
    if len(images[mine]):
        return Batch(images[mine], views[mine])
    return Batch(images[:1], views[:1], weight=0.0)  # every process must take part in every step


def epoch_seed(seed: int, epoch: int) -> int:
    """One seed per epoch, so that a resumed run draws what an unbroken one would have."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
