"""Find the class of each image from its folders: wrapping folders are skipped, train and val folders are respected."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import NamedTuple

from explorer.data.archives import is_system_file
from explorer.data.report import Split
from explorer.data.spelling import match_names, shown, spelling_of
from explorer.errors import DataError
from explorer.words import list_in_words

# .heic is in the list though it can't be read: a phone's photos are to be named as rejected, not to vanish.
SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
        *(".avif", ".heic", ".heif", ".ppm", ".pgm", ".pbm", ".pnm"),
    )
)
PLAIN = {"train", "val", "valid", "validation", "test"}  # come before other names for the sides of a split
SIDE_OF = {  # words in the names of folders; validation comes before test, which then is left untouched
    **dict.fromkeys(("train", "training", "trn", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "vld", "dev", "devel", "development"), "val"),
    **dict.fromkeys(("eval", "evaluation", "holdout", "heldout"), "val"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
_ADDED = re.compile(r"(set|data|dataset|images?|imgs?|folder|split)s?$")  # as in "trainset"
_PARTS = re.compile(r"(?:^|_)(part|batch|shard|chunk|fold|subset|archive|images?|imgs?|data|dataset)s?_*\d")
STORES = {"images", "image", "imgs", "img", "jpegimages", "pictures"}  # what no class is called
LISTED = 6  # names in a sentence, at most
NO_CLASS = ""  # of images that lie in no folder
LAYOUT_HELP = "put the images of each class in a folder of its own, such as cats/1.jpg and dogs/1.jpg"


class Place(NamedTuple):
    """Where one image of the source belongs; index counts the names that were given."""

    index: int
    class_name: str
    split: Split | None


class Layout(NamedTuple):
    """The images' places, counts of what was passed over, and sentences about what a person may not expect."""

    places: list[Place]
    passed_over: dict[str, int]
    notes: tuple[str, ...]


@dataclass
class _Folder:
    """folders: those that hold images, in them or below. bare: names of those that hold none."""

    folders: dict[str, "_Folder"] = field(default_factory=dict)
    images: list[int] = field(default_factory=list)
    bare: set[str] = field(default_factory=set)

    def all_images(self) -> list[int]:
        """Every image in this folder and below it (no recursion: a hostile zip may nest thousands of folders)."""
        found: list[int] = []
        waiting: list[_Folder] = [self]
        while waiting:
            folder = waiting.pop()
            found += folder.images
            waiting.extend(folder.folders.values())
        return found


def is_picture(name: str) -> bool:
    """Whether a file is an image by its name, and none that a system hides beside one."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES and not is_system_file(name)


def find_layout(names: Sequence[str], title: str = "The data set", empty: Iterable[str] = ()) -> Layout:
    """Class and split of each image among the files `names` ("/" between folders).

    Folders that hold nothing but one other folder are wrapping. Below them lie a training and a validation folder
    (train and val, Training and Testing, seg_train and seg_test …), each with class folders, or the class folders
    themselves; images deeper inside a class folder belong to that class, as in torchvision's ImageFolder. Where no
    image lies in a class folder, all have the class NO_CLASS. empty: folders without any file. DataError where `title`,
    as it is called, has no image.
    """
    passed_over, notes = Counter[str](), list[str]()
    root = _Folder()
    others = []
    for index, name in enumerate(names):
        if is_system_file(name):
            passed_over["system files"] += 1
        elif PurePosixPath(name).suffix.lower() not in SUFFIXES:
            passed_over["files that aren't images"] += 1
            others.append(name)
        else:
            _insert(root, name, index)
    images = sorted(root.all_images())
    if not images:
        endings = Counter(PurePosixPath(name).suffix.lower() or "nothing" for name in others).most_common(3)
        found = f"no images, only files ending in {list_in_words([ending for ending, _ in endings])}" if others else ""
        raise DataError(f"{title} holds {found or 'no images'}; {LAYOUT_HELP}.")
    for name in (*others, *(f"{folder}/" for folder in empty if not is_system_file(folder))):
        _insert_bare(root, name)
    places = _places(root, notes) if root.folders else [Place(index, NO_CLASS, None) for index in images]
    if len(images) > len(places):
        passed_over["images outside the class folders used"] = len(images) - len(places)
    return Layout(sorted(places), dict(passed_over), (*notes, *_alike({place.class_name for place in places})))


def _insert(root: _Folder, name: str, index: int) -> None:
    folder = root
    for part in _folders_of(name):
        folder = folder.folders.setdefault(part, _Folder())
    folder.images.append(index)


def _insert_bare(root: _Folder, name: str) -> None:
    """Of the folders around a file that is no image, the outermost that holds no image either."""
    folder = root
    for part in _folders_of(name):
        if part not in folder.folders:
            folder.bare.add(part)
            return
        folder = folder.folders[part]


def _folders_of(name: str) -> tuple[str, ...]:
    """The folders around a file, or a folder with a "/" behind it."""
    parts = PurePosixPath(shown(unicodedata.normalize("NFC", name))).parts  # macOS takes letters apart
    return parts if name.endswith("/") else parts[:-1]


def _places(root: _Folder, notes: list[str]) -> list[Place]:
    top = _unwrap(root)
    places = _split_places(top, notes)
    if places is None and _sides_alone(top):
        notes.append(f"There are no class folders in the {_folders(sorted(top.folders))}, so no image has a class.")
        return [Place(index, NO_CLASS, None) for index in top.all_images()]
    if places is None:
        _drop_repeated(top, notes)
        places = _class_places(top, None)
        notes += _doubts(top) + _bare(top)
    return places


def _split_places(top: _Folder, notes: list[str]) -> list[Place] | None:
    """Places where folders are called like the sides of a split; None where they look like classes after all."""
    roles = {name: _role(name) for name in sorted(top.folders, key=lambda name: (name.lower() not in PLAIN, name))}
    train = next((name for name, role in roles.items() if role == "train"), None)
    held_out = [name for side in ("val", "test") for name, role in roles.items() if role == side]
    if train is None or not held_out:
        return None
    places = _class_places(top.folders[train], None)
    classes = sorted({place.class_name for place in places})
    for name in held_out:  # a test folder without the classes of train holds unlabelled images
        val = _class_places(top.folders[name], "val")
        known = match_names({place.class_name for place in val}, classes)
        if known:
            places = [place._replace(split="train") for place in places]
            places += [place._replace(class_name=known.get(place.class_name, place.class_name)) for place in val]
            notes.append(f"The images in '{train}' are for training, those in '{name}' for validation.")
            held_out = [name]
            break
    else:
        if not places or not any(_rest(train) == _rest(name) for name in held_out):
            return None
        notes.append(f"{_names(held_out)} not used for validation: no folder in there is called like one in '{train}'.")
    spare = [name for name in top.folders if name not in (train, *held_out)]
    if spare:
        notes.append(f"{_names(spare)} not used.")
    notes += _bare(top.folders[train])
    return places


def _sides_alone(top: _Folder) -> bool:
    """Whether all folders are called like the sides of one split, and hold images but no class folders."""
    roles, rests = {_role(name) for name in top.folders}, {_rest(name) for name in top.folders}
    flat = not any(folder.folders for folder in top.folders.values())
    return flat and len(rests) == 1 and None not in roles and "train" in roles and len(roles) > 1


def _drop_repeated(top: _Folder, notes: list[str]) -> None:
    """Leave out a folder that only holds the names of the folders beside it once more, as some archives do."""
    for name in sorted(top.folders):
        inside = set(_unwrap(top.folders[name]).folders)
        if len(inside) > 1 and name not in inside and inside <= top.folders.keys():
            del top.folders[name]
            notes.append(f"The folder '{name}' was not used: it holds the folders beside it ({_some(sorted(inside))}).")


def _bare(folder: _Folder) -> list[str]:
    """A note about folders beside the class folders in which there is no image."""
    bare = sorted(_unwrap(folder).bare)
    return [f"No class comes from the {_folders(bare)}: there is no image inside."] if bare else []


def _alike(classes: Iterable[str]) -> list[str]:
    """Notes about classes that may be one."""
    spelled: dict[str, list[str]] = {}
    for name in sorted(classes):
        spelled.setdefault(spelling_of(name), []).append(name)
    return [
        f"The classes {_quoted(names)} are spelled nearly alike; if they are one class, put its images in one folder."
        for names in spelled.values()
        if len(names) > 1
    ]


def _role(name: str) -> str | None:
    """Which side of a split a folder's name speaks of: train, val, test or, where none or several, None."""
    found = {SIDE_OF.get(word) or SIDE_OF.get(_ADDED.sub("", word)) for word in _words(name)} - {None}
    return found.pop() if len(found) == 1 else None


def _rest(name: str) -> tuple[str, ...]:
    """The words of a folder's name that don't speak of a side of a split: none of test1, but tube of test tube."""
    return tuple(word for word in _words(name) if word not in SIDE_OF and _ADDED.sub("", word) not in {"", *SIDE_OF})


def _words(name: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold())


def _doubts(top: _Folder) -> list[str]:
    """Notes where the folders may not be classes: they hold the same subfolders, or are named like a split."""
    below = {name: set(map(spelling_of, _unwrap(folder).folders)) for name, folder in top.folders.items()}
    same, every = set.intersection(*below.values()), set.union(*below.values())
    if len(below) > 1 and len(same) > 1 and all(_role(name) for name in same):
        return [
            f"{_names(sorted(below))} taken for the classes; the split inside them ({_some(sorted(same))}) isn't used: "
            "for that, put train and val around the class folders."
        ]
    if len(below) > 1 and len(same) > 1 and 2 * len(same) >= len(every):
        return [
            f"{_names(sorted(below))} taken for the classes, but hold the same subfolders ({_some(sorted(same))}); if "
            "those are the classes, call the folders around them train and val."
        ]
    split = [name for name, inner in below.items() if len(inner) > 1 and all(_role(side) for side in inner)]
    if split:
        return [f"{_names(split)} taken for a class, though the split in there looks like the data set: give it alone."]
    called = sorted(_split_names(below))
    if called and not every:
        return [
            f"{_names(called)} taken for classes, though called like the sides of a split; inside them, {LAYOUT_HELP}."
        ]
    sides = [name for name, inner in below.items() if _role(name) and len(inner) > 1]
    if sides:
        return [
            f"{_names(sides)} taken for {'classes' if len(sides) > 1 else 'a class'}, though the subfolders look like "
            "classes; a split needs two folders, train and val, with the same class folders in both."
        ]
    stores = sorted(name for name in below if spelling_of(name) in STORES)
    if stores and len(below) > 1:
        return [f"{_names(stores)} taken for a class, but isn't called like one; {LAYOUT_HELP}."]
    if len(below) > 1 and len({re.sub(r"\d+", "", name) for name in below}) == 1 and all(map(_is_part, below)):
        return [f"{_names(sorted(below))} taken for the classes, but are called like parts; if so, {LAYOUT_HELP}."]
    whole = [name for name, inner in below.items() if len(inner) > 1 and not _unwrap(top.folders[name]).images]
    if whole:
        folders = sorted(set().union(*(_unwrap(top.folders[name]).folders for name in whole)))
        a_class, each = ("classes", "each ") if len(whole) > 1 else ("a class", "")
        return [f"{_names(sorted(whole))} taken for {a_class}, {each}with all the folders inside ({_some(folders)})."]
    return []


def _split_names(names: Iterable[str]) -> list[str]:
    """Those of the names that speak of the sides of a split: train cat and test cat, where the rest is cat."""
    roles: dict[tuple[str, ...], dict[str, str]] = {}
    for name in names:
        if role := _role(name):
            roles.setdefault(_rest(name), {})[name] = role
    splits = [group for group in roles.values() if "train" in group.values() and len(set(group.values())) > 1]
    return [name for group in splits for name in group]


def _is_part(name: str) -> bool:
    """Whether a folder is called like one of several parts, such as images_001."""
    return bool(_PARTS.search(spelling_of(name).replace(" ", "_")))


def _names(names: Sequence[str]) -> str:
    """ "The folder 'a' was", "The folders 'a' and 'b' were"."""
    return f"The {_folders(names)} {'was' if len(names) == 1 else 'were'}"


def _folders(names: Sequence[str]) -> str:
    """ "folder 'a'", "folders 'a' and 'b'"."""
    return f"folder{'s' * (len(names) > 1)} {_quoted(names)}"


def _quoted(names: Sequence[str]) -> str:
    return _some([f"'{name}'" for name in names])


def _some(names: Sequence[str]) -> str:
    shown = [*names[:LISTED], *([f"{len(names) - LISTED:,} more"] if len(names) > LISTED else [])]
    return list_in_words(shown)


def _class_places(folder: _Folder, split: Split | None) -> list[Place]:
    folders = _unwrap(folder).folders
    return [Place(index, name, split) for name, below in folders.items() for index in below.all_images()]


def _unwrap(folder: _Folder) -> _Folder:
    """Go down while there is one folder only, and that folder holds folders."""
    while len(folder.folders) == 1:
        (inner,) = folder.folders.values()
        if not inner.folders:
            break
        folder = inner
    return folder
