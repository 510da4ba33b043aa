"""The names in a zip as they were meant: all of one archive read alike, since they come from one computer.

A zip says of each name whether it is UTF-8; others are bytes in whatever code page the computer had. macOS writes UTF-8
without saying so, some programs add the name in UTF-8 as an extra field, Windows writes the code page of its country.
"""

import math
import re
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from explorer.data.code_pages import CODE_PAGES, CodePage, likelihood

UTF8_FLAG = 0x800
UNICODE_PATH = 0x7075  # the extra field's number
_FORCED = "cp437"  # how zipfile reads the bytes of other names; it has a character for each byte
_MOST = 50_000  # bytes of names that are judged
# Letters of ASCII beside Cyrillic to Arabic ones: "kış" in code page 857 happens to be UTF-8, of half an Armenian word.
_COINCIDENCE = re.compile("[A-Za-z][\u0400-\u07ff]|[\u0400-\u07ff][A-Za-z]")
_DOS = 0  # the system that Windows' own zip and 7-Zip say they ran on
# Times that one is as likely as another:
_USUAL = 4  # a code page that is usual on the system that the zip names, as another
_CUT = 1000  # a code page in which a backslash is half of a letter, as one in which it is itself
_SURE = 100  # the best code page, as the next one that gives other names


@dataclass(frozen=True)
class Names:
    """The names in the order of the entries; note: a sentence where a code page had to be guessed, else ""."""

    names: list[str]
    note: str = ""


def decode_names(infos: Sequence[zipfile.ZipInfo]) -> Names:
    """The names of all entries; different names stay different, whatever is guessed."""
    known = [_known_name(info) for info in infos]
    raw = [_raw_name(info) for info in infos]
    unknown = [name for name, sure in zip(raw, known, strict=True) if sure is None]
    proven = [(name, sure) for name, sure in zip(raw, known, strict=True) if sure is not None and not name.isascii()]
    dos = any(info.create_system == _DOS for info in infos)
    plain = [part.decode() for part in _words(name.rpartition(b"/")[0] for name in raw) if part.isascii()]
    codec, note = _choose(unknown, [pair for pair in proven if not _is(pair[0], "utf-8", pair[1])], plain, dos)
    decoded = [_decode(name, codec) if sure is None else sure for name, sure in zip(raw, known, strict=True)]
    return Names(decoded, note)


def _known_name(info: zipfile.ZipInfo) -> str | None:
    """The name where the zip itself says what it is; an ASCII one may stand in for the Unicode path (#U732b)."""
    if path := _unicode_path(info.extra, _raw_name(info)):
        return path
    return info.filename if info.flag_bits & UTF8_FLAG or info.orig_filename.isascii() else None


def _raw_name(info: zipfile.ZipInfo) -> bytes:
    """The name's own bytes."""
    encoding = "utf-8" if info.flag_bits & UTF8_FLAG else _FORCED
    return info.orig_filename.split("\0")[0].encode(encoding, "surrogatepass")


def _unicode_path(extra: bytes, raw: bytes) -> str | None:
    """The name in the extra field for it, where that belongs to this name: its checksum says so."""
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind != UNICODE_PATH or len(field) < 6:
            continue
        version, checksum = struct.unpack_from("<BL", field)
        if version == 1 and checksum == zlib.crc32(raw):
            try:
                return field[5:].decode("utf-8") or None
            except UnicodeDecodeError:
                return None
    return None


def _is(raw: bytes, codec: str, text: str) -> bool:
    try:
        return raw.decode(codec) == text
    except UnicodeDecodeError:
        return False


def _choose(
    raw: Sequence[bytes], proven: Sequence[tuple[bytes, str]], plain: Sequence[str], dos: bool
) -> tuple[str | None, str]:
    """The codec of the names, None where none is likely, and the sentence about it.

    proven: names that are known, with their bytes. plain: folders' names in ASCII. dos: whether the zip says _DOS.
    """
    utf8 = all(_readable(name, "utf-8") for name in raw)
    if utf8 and not all(_COINCIDENCE.search(name.decode()) for name in raw):
        return "utf-8", ""
    sure = [page for page in CODE_PAGES if proven and all(_is(name, page.codec, text) for name, text in proven)]
    if known := next((page for page in sure if _keeps_apart(raw, page.codec)), None):
        return known.codec, ""
    words = [part for part in _words(raw) if not part.isascii()]
    ranked = _ranked(words, plain, dos)
    best = next(((value, page) for value, page in ranked if _keeps_apart(raw, page.codec)), None)
    if best is None and utf8:
        return "utf-8", ""
    if best is None:
        return None, (
            f"{_some(raw)} in an old code page that can't be recognised, so they look garbled; zip the images again "
            "with a program that writes UTF-8 names, such as 7-Zip."
        )
    page = best[1]
    others = [other for value, other in ranked if value > best[0] - math.log(_SURE) and _keeps_apart(raw, other.codec)]
    rival = next((o for o in others if any(name.decode(o.codec) != name.decode(page.codec) for name in raw)), None)
    unsure = f", though it could be {rival.title}" if rival else ""
    return (
        page.codec,
        f"{_some(raw)} in an old code page, read as {page.title}{unsure}; check the names of the classes.",
    )


def _ranked(words: Sequence[bytes], plain: Sequence[str], dos: bool) -> list[tuple[float, CodePage]]:
    """The code pages in which the words look like a language, likeliest first, with the likelihood's logarithm."""
    found = [(value, page) for page in CODE_PAGES if (value := likelihood(words, plain, page)) is not None]
    cuts = {page: sum(word.decode(page.codec).count("\\") for word in words) for _, page in found}
    least = min(cuts.values(), default=0)
    weighed = [
        (value + math.log(_USUAL) * (page.dos in (None, dos)) - math.log(_CUT) * (cuts[page] - least), page)
        for value, page in found
    ]
    return sorted(weighed, key=lambda pair: -pair[0])


def _some(raw: Sequence[bytes]) -> str:
    return "File names of the zip are" if len(raw) > 1 else "A file name of the zip is"


def _readable(raw: bytes, codec: str) -> bool:
    try:
        raw.decode(codec)
    except UnicodeDecodeError:
        return False
    return True


def _keeps_apart(raw: Sequence[bytes], codec: str) -> bool:
    """Whether all names can be read in the codec, and none becomes like another."""
    if not all(_readable(name, codec) for name in raw):
        return False
    different = set(raw)
    return len({unicodedata.normalize("NFC", name.decode(codec)) for name in different}) == len(different)


def _decode(raw: bytes, codec: str | None) -> str:
    if codec is not None:
        return raw.decode(codec)
    # A backslash may be half of a letter here; it is one of Windows's folders only where there are no others.
    return raw.decode(_FORCED).replace("\\", "⧵" if b"/" in raw else "\\")


def _words(raw: Iterable[bytes]) -> list[bytes]:
    """Parts of paths, each once: a class's name counts no more often for its many images."""
    parts = list(dict.fromkeys(part for name in raw for part in name.split(b"/") if part))
    sizes = accumulate(map(len, parts))
    return [part for part, size in zip(parts, sizes, strict=True) if size <= _MOST]
