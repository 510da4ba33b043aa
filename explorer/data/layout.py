"""Find the class of each image from its folders: wrapping folders are skipped, train and val folders are respected."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import NamedTuple

from explorer.data.archives import is_system_file
from explorer.data.report import Split
from explorer.errors import DataError

# .heic is in the list though it can't be read: a phone's photos are to be named as rejected, not to vanish.
SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
        *(".avif", ".heic", ".heif", ".ppm", ".pgm", ".pbm", ".pnm"),
    )
)
VAL_FOLDERS = ("val", "valid", "validation", "test")  # the first that is there serves as validation
NO_CLASS = ""  # of images that lie in no folder
LAYOUT_HELP = "put the images of each class in a folder of its own, such as cats/1.jpg and dogs/1.jpg"


class Place(NamedTuple):
    """Where one image of the source belongs; index counts the names that were given."""

    index: int
    class_name: str
    split: Split | None


@dataclass
class _Folder:
    folders: dict[str, "_Folder"] = field(default_factory=dict)
    images: list[int] = field(default_factory=list)

    def all_images(self) -> list[int]:
        """Every image in this folder and below it (no recursion: a hostile zip may nest thousands of folders)."""
        found: list[int] = []
        waiting: list[_Folder] = [self]
        while waiting:
            folder = waiting.pop()
            found += folder.images
            waiting.extend(folder.folders.values())
        return found


def find_layout(names: Sequence[str], needs_classes: bool = True) -> tuple[list[Place], dict[str, int]]:
    """Class and split of each image among the files `names` ("/" between folders), and counts of what was passed over.

    Folders that hold nothing but one other folder are wrapping. Below them lie train and val (or valid, validation,
    test) folders, each with class folders, or the class folders themselves; images deeper inside a class folder belong
    to that class, as in torchvision's ImageFolder. DataError where there is no image, and where there is no class
    folder at all; needs_classes=False then gives every image the class NO_CLASS.
    """
    passed_over = Counter[str]()
    root = _Folder()
    for index, name in enumerate(names):
        if is_system_file(name):
            passed_over["system files"] += 1
        elif PurePosixPath(name).suffix.lower() not in SUFFIXES:
            passed_over["files that are no images"] += 1
        else:
            _insert(root, name, index)
    images = sorted(root.all_images())
    if not needs_classes and not any(folder.all_images() for folder in root.folders.values()):
        places = [Place(index, NO_CLASS, None) for index in images]
    else:
        places = _places(root, passed_over)
    if not places:
        found = len(images)
        what = f"{found} images but no class folders" if found else "no images"
        raise DataError(f"The data set holds {what}; {LAYOUT_HELP}.")
    return places, dict(passed_over)


def _insert(root: _Folder, name: str, index: int) -> None:
    folder = root
    for part in PurePosixPath(name).parts[:-1]:
        folder = folder.folders.setdefault(part, _Folder())
    folder.images.append(index)


def _places(root: _Folder, passed_over: Counter[str]) -> list[Place]:
    top = _unwrapped(root)
    by_name = {name.lower(): folder for name, folder in top.folders.items()}
    held_out = [by_name[name] for name in VAL_FOLDERS if name in by_name]
    if "train" in by_name and held_out:
        places = _class_places(by_name["train"], None)
        classes = {place.class_name for place in places}
        for folder in held_out:  # a test folder without the classes of train holds unlabelled images
            val = _class_places(folder, "val")
            if classes & {place.class_name for place in val}:
                places = [place._replace(split="train") for place in places] + val
                break
    else:
        places = _class_places(top, None)
    # Images beside the class folders have no class, and a test set beside a validation set is left untouched.
    spare = len(root.all_images()) - len(places)
    if spare:
        passed_over["images outside the class folders used"] += spare
    return sorted(places)


def _class_places(folder: _Folder, split: Split | None) -> list[Place]:
    folders = _unwrapped(folder).folders
    return [Place(index, name, split) for name, below in folders.items() for index in below.all_images()]


def _unwrapped(folder: _Folder) -> _Folder:
    """Go down while there is one folder only, and that folder holds folders."""
    while len(folder.folders) == 1:
        (inner,) = folder.folders.values()
        if not inner.folders:
            break
        folder = inner
    return folder
