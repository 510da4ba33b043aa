"""Which of a model's classes a folder's name means."""

import re
from collections.abc import Iterable, Iterator, Sequence

from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset

from explorer.data.spelling import Tier, match, spelling_of, spellings, tier, without_number

AGREEING = 0.9  # of a model's class names: so many are ImageNet's where the model's classes are ImageNet's
WORDNET_ID = re.compile(r"n\d{8}(?!\d)")


def match_classes(folders: Iterable[str], class_names: Sequence[str] | None, count: int) -> dict[str, int]:
    """{folder: index of the model's class}, without the folders that name no class, or more than one.

    A name counts in any case, with spaces, underscores or dashes between its words, and as one of several names split
    by commas. The classes of ImageNet also go by their WordNet ids (n02099601, n02099601-golden_retriever) and by
    WordNet's other names, and a model's nameless classes by their numbers. A number in front of a name counts for
    nothing where the name alone tells. class_names: None where the model has no names; count: how many it has.
    """
    return match(folders, list(_tiers(class_names, count)))


def _tiers(class_names: Sequence[str] | None, count: int) -> Iterator[Tier]:
    """What each class may be called, and how a folder is to be read for it: the surest names first."""
    if class_names is None:
        yield tier(str, [str(index) for index in range(count)])
    else:
        yield tier(str, class_names)
        yield tier(spelling_of, class_names)
        yield spelling_of, spellings([_parts(name) for name in class_names])
    info = _imagenet(class_names, count)
    if info is not None:
        yield _wordnet_id, spellings([[label] for label in info.label_names()])
        yield spelling_of, spellings([_parts(description) for description in info.label_descriptions()])
    if class_names is not None:
        yield tier(without_number, class_names)


def _parts(name: str) -> list[str]:
    return [spelling_of(part) for part in name.split(",")]


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
