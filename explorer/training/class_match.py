"""Which of a model's classes a folder's name means."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset

AGREEING = 0.9  # of a model's class names: so many are ImageNet's where the model's classes are ImageNet's
WORDNET_ID = re.compile(r"n\d{8}(?!\d)")

Spell = Callable[[str], str]
Spellings = dict[str, set[int]]


def match_classes(folders: Iterable[str], class_names: Sequence[str] | None, count: int) -> dict[str, int]:
    """{folder: index of the model's class}, without the folders that name no class, or more than one.

    A name counts in any case, with spaces, underscores or dashes between its words, and as one of several names split
    by commas. The classes of ImageNet also go by their WordNet ids (n02099601, n02099601-golden_retriever) and by
    WordNet's other names, and a model's nameless classes by their numbers. class_names: None where the model has no
    names; count: how many classes it has.
    """
    tiers = list(_tiers(class_names, count))
    found = {}
    for folder in folders:
        hits = (spellings.get(spell(folder), ()) for spell, spellings in tiers)
        index = next((hit for hit in hits if len(hit) == 1), None)
        if index is not None:
            found[folder] = min(index)
    return found


def _tiers(class_names: Sequence[str] | None, count: int) -> Iterator[tuple[Spell, Spellings]]:
    """What each class may be called, and how a folder is to be read for it: the surest names first."""
    if class_names is None:
        yield str, _spellings([[str(index)] for index in range(count)])
    else:
        yield str, _spellings([[name] for name in class_names])
        yield _spelled, _spellings([[_spelled(name)] for name in class_names])
        yield _spelled, _spellings([_parts(name) for name in class_names])
    info = _imagenet(class_names, count)
    if info is not None:
        yield _wordnet_id, _spellings([[label] for label in info.label_names()])
        yield _spelled, _spellings([_parts(description) for description in info.label_descriptions()])


def _spellings(names: Sequence[Sequence[str]]) -> Spellings:
    found: Spellings = defaultdict(set)
    for index, spelled in enumerate(names):
        for name in spelled:
            found[name].add(index)
    return found


def _spelled(name: str) -> str:
    """One spelling for all that people mean by the same: "German_Shepherd" is "german shepherd"."""
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFC", name)).strip().casefold()


def _parts(name: str) -> list[str]:
    return [_spelled(part) for part in name.split(",")]


def _wordnet_id(folder: str) -> str:
    match = WORDNET_ID.match(folder)
    return match.group() if match else ""


def _imagenet(class_names: Sequence[str] | None, count: int) -> ImageNetInfo | None:
    """ImageNet's label set of that size, where the model's names agree with it or the model has none."""
    subset = infer_imagenet_subset({"num_classes": count})
    if subset is None:
        return None
    info = ImageNetInfo(subset)
    if class_names is None:
        return info
    descriptions = info.label_descriptions()
    agree = [bool({*_parts(own)} & {*_parts(known)}) for own, known in zip(class_names, descriptions, strict=True)]
    return info if sum(agree) >= AGREEING * count else None
