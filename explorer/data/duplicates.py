"""Find images that are copies of one another, even resized, recompressed or slightly cropped.

Two images are near copies when their difference hashes (64 bits: which neighbour is brighter, on an 8 x 8 grid) differ
in few bits and no cell of their 8 x 8 colour thumbnails differs much. The hash alone calls every second boot on a white
page a copy, and a mean over cells is little better, as most of the page is white in all of them.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from explorer.data.report import DuplicateGroup, Item, duplicate_group

GRID = 8
MAX_BITS = 6
MAX_CELL_DIFFERENCE = 20  # of 255, in the worst cell and channel
_ROWS_AT_ONCE, _PAIRS_AT_ONCE = 256, 50_000


class Fingerprint(NamedTuple):
    """dhash: 64 bits. thumbnail: (GRID * GRID * 3,) uint8."""

    dhash: int
    thumbnail: np.ndarray


def fingerprint(image: Image.Image) -> Fingerprint:
    """What near copies of an RGB image share."""
    grey = np.array(image.convert("L").resize((GRID + 1, GRID), Image.Resampling.BOX))
    bits = np.packbits(grey[:, 1:] > grey[:, :-1])
    thumbnail = np.array(image.resize((GRID, GRID), Image.Resampling.BOX)).reshape(-1)
    return Fingerprint(int.from_bytes(bits.tobytes(), "big"), thumbnail)


def near_groups(prints: Sequence[Fingerprint]) -> list[list[int]]:
    """Groups of two and more images linked by being near copies, as ascending indices.

    Every hash is compared with every other, some rows at a time: the 200 million comparisons of 20,000 images take
    about a second, so an index would only add code. Pairs already linked are skipped, so that thousands of frames of a
    resting camera cost neither time nor memory.
    """
    hashes = np.array([print_.dhash for print_ in prints], dtype=np.uint64)
    thumbnails = np.array([print_.thumbnail for print_ in prints], dtype=np.int16)
    component = np.arange(len(hashes))
    for start in range(0, len(hashes), _ROWS_AT_ONCE):
        rows = hashes[start : start + _ROWS_AT_ONCE, None]
        pairs = np.argwhere(np.bitwise_count(rows ^ hashes[None, start:]) <= MAX_BITS) + start
        for part in np.array_split(pairs, 1 + len(pairs) // _PAIRS_AT_ONCE):
            first, second = part[component[part[:, 0]] != component[part[:, 1]]].T
            difference = np.abs(thumbnails[first] - thumbnails[second]).max(axis=1)
            close = difference <= MAX_CELL_DIFFERENCE
            component = _link(component, first[close], second[close])
    return _groups(component)


def linked_groups(groups: Iterable[Sequence[int]], count: int) -> list[list[int]]:
    """Groups that share a member joined into one, for `count` things in all."""
    pairs = [(group[0], other) for group in groups for other in group[1:]]
    first, second = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return _groups(_link(np.arange(count), first, second))


def _link(component: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Each thing's component number after linking first[i] with second[i]."""
    if len(first) == 0:
        return component
    from scipy.sparse import coo_array  # only for data with near copies: its import takes as long as many photos
    from scipy.sparse.csgraph import connected_components

    edges = (np.ones(len(first), np.int32), (component[first], component[second]))
    _, merged = connected_components(coo_array(edges, shape=(len(component),) * 2), directed=False)
    return merged[component]


def _groups(component: np.ndarray) -> list[list[int]]:
    order = np.argsort(component, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(component[order])) + 1)
    return [part.tolist() for part in parts if len(part) > 1]


def find_duplicates(items: Sequence[Item], prints: Sequence[Fingerprint]) -> tuple[DuplicateGroup, ...]:
    """Groups of equal files, then groups of near copies (which include the equal ones among them)."""
    by_sha: dict[str, list[int]] = {}
    for index, item in enumerate(items):
        by_sha.setdefault(item.sha, []).append(index)
    groups = [duplicate_group("exact", same, items) for same in by_sha.values() if len(same) > 1]
    for linked in near_groups(prints):
        if len({items[index].sha for index in linked}) > 1:
            groups.append(duplicate_group("near", linked, items))
    return tuple(groups)
