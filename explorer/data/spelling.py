"""Names as people read them, and names that they spell in different ways."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

Spell = Callable[[str], str]
Spellings = dict[str, set[int]]
Tier = tuple[Spell, Spellings]  # how to read a name, and which things are called so


# Joiners that words of Persian and Hindi and many emoji are written with, and the tags of flags.
_JOINING = frozenset(("\u200c", "\u200d", *map(chr, range(0xE0020, 0xE0080))))
_UNSEEN = frozenset(("Cc", "Cf", "Cs", "Co", "Zl", "Zp"))  # controls, directions, halves of characters, ends of lines


def shown(name: str) -> str:
    """The name with the code of each sign that can't be seen in its place; different names stay different."""
    if name.isprintable():
        return name
    return "".join(
        f"�{ord(sign):x}" if unicodedata.category(sign) in _UNSEEN and sign not in _JOINING else sign for sign in name
    )


def spelling_of(name: str) -> str:
    """One spelling for all that people mean by the same: "German_Shepherd" is "german shepherd"."""
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFKC", name)).strip().casefold()


def without_number(name: str) -> str:
    """The same without a number in front of it: "03. German_Shepherd" is "german shepherd"."""
    return re.sub(r"^\d+[ .):]+(?=.*[^\W\d])", "", spelling_of(name)).strip()


def spellings(names: Iterable[Iterable[str]]) -> Spellings:
    """{name: indices of the things that go by it}, from all names of each thing."""
    found: Spellings = defaultdict(set)
    for index, own in enumerate(names):
        for name in own:
            found[name].add(index)
    return found


def tier(spell: Spell, names: Iterable[str]) -> Tier:
    """The tier of things with one name each."""
    return spell, spellings([[spell(name)] for name in names])


def match(names: Iterable[str], tiers: Sequence[Tier]) -> dict[str, int]:
    """{name: index of the only thing that it means} in the first tier where it means just one; others are left out."""
    found = {}
    for name in names:
        hits = (called.get(spell(name), ()) for spell, called in tiers)
        index = next((hit for hit in hits if len(hit) == 1), None)
        if index is not None:
            found[name] = min(index)
    return found


def match_names(names: Iterable[str], others: Sequence[str]) -> dict[str, str]:
    """{name: the one of the others that it means}: exactly, in another case or spelling, or but for a number."""
    found = match(names, [tier(str, others), tier(spelling_of, others), tier(without_number, others)])
    return {name: others[index] for name, index in found.items()}
