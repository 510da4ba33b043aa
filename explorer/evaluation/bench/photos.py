"""The photos of a bench, read one at a time from a folder or a zip, each with its mask where there is one."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from explorer.data.class_folders import is_picture
from explorer.data.images import ImageSource
from explorer.data.sources import Source, open_source
from explorer.errors import DataError


@dataclass(frozen=True)
class BenchPhoto:
    """name: in files and tables; read, read_mask: give what open_image and open_mask take."""

    name: str
    read: Callable[[], ImageSource]
    read_mask: Callable[[], ImageSource] | None = None


@contextmanager
def open_photos(
    photos: Path, masks: Path | None = None, count: int | None = None, skip: int = 0
) -> Iterator[Sequence[BenchPhoto]]:
    """The first `count` photos after `skip`, in the order of their names; both may be a folder or a zip.

    A mask has its photo's file name, endings aside. Raises DataError where there is no photo, or no mask for any.
    """
    with ExitStack() as stack:
        source = stack.enter_context(open_source(photos))
        places = _pictures(source)[skip:][:count]
        if not places:
            raise DataError(
                f"{photos} holds no photo{f' after the first {skip}' if skip else ''}: give JPEG or PNG files."
            )
        source.check_claims(places)
        by_stem = {}
        if masks is not None:
            others = stack.enter_context(open_source(masks))
            by_stem = {_stem(others.names[place]): partial(others.read, place) for place in _pictures(others)}
        found = [
            BenchPhoto(name, partial(source.read, place), by_stem.get(_stem(name)))
            for place in places
            for name in [source.names[place]]
        ]
        if masks is not None and not any(photo.read_mask for photo in found):
            raise DataError(f"{masks} has no mask for {found[0].name}: a mask has its photo's name, endings aside.")
        yield found


def _pictures(source: Source) -> list[int]:
    """Which of its files are pictures by their names."""
    return [index for index, name in enumerate(source.names) if is_picture(name)]


def _stem(name: str) -> str:
    return PurePosixPath(name).stem.casefold()
