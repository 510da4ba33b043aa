"""The names in a zip as they were meant: all of one archive read alike, since they come from one computer.

A zip says of each name whether it is UTF-8; others are bytes in whatever code page the computer had. macOS writes UTF-8
without saying so, some programs add the name in UTF-8 as an extra field, Windows writes the code page of its country.
"""

import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from explorer.data.code_pages import CODE_PAGES, CodePage, plausibility

UTF8_FLAG = 0x800
UNICODE_PATH = 0x7075  # the extra field's number
_FORCED = "cp437"  # how zipfile reads the bytes of other names; it has a character for each byte
_MOST = 2000  # parts of names that are judged
_LEAST = 0.55  # plausibility below which a code page isn't believed
_MARGIN = 0.08  # by which the best must be more plausible than the next that gives other names


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
    codec, note = _choose(unknown, [pair for pair in proven if not _is(pair[0], "utf-8", pair[1])])
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


def _choose(raw: Sequence[bytes], proven: Sequence[tuple[bytes, str]]) -> tuple[str | None, str]:
    """The codec of the names, None where none is believed, and the sentence about it."""
    if not raw or all(_readable(name, "utf-8") for name in raw):
        return "utf-8", ""
    pages = [page for page in CODE_PAGES if _keeps_apart(raw, page.codec)]
    sure = [page for page in pages if proven and all(_is(name, page.codec, text) for name, text in proven)]
    if sure:
        return sure[0].codec, ""
    words, slashes = _words(raw), any(b"/" in name for name in raw)
    ranked = sorted(((_score(words, page, slashes), page) for page in pages), key=lambda pair: -pair[0])
    if not ranked or ranked[0][0] < _LEAST:
        return None, (
            f"{_some(raw)} in an old code page that can't be recognised, so they look garbled; zip the images again "
            "with a program that writes UTF-8 names, such as 7-Zip."
        )
    best, page = ranked[0]
    rivals = [
        other.title
        for score, other in ranked[1:]
        if score > best - _MARGIN and any(name.decode(other.codec) != name.decode(page.codec) for name in raw)
    ]
    unsure = f", though it could be {rivals[0]}" if rivals else ""
    return (
        page.codec,
        f"{_some(raw)} in an old code page, read as {page.title}{unsure}; check the names of the classes.",
    )


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


def _score(words: Sequence[bytes], page: CodePage, slashes: bool) -> float:
    """plausibility, less where a backslash beside the usual slashes would divide folders: it is half a letter."""
    torn = slashes and any("\\" in word.decode(page.codec) for word in words)
    return plausibility(words, page) * (0.5 if torn else 1.0)


def _words(raw: Sequence[bytes]) -> list[bytes]:
    """Parts of paths that aren't plain ASCII, each once: a class's name counts no more often for its many images."""
    return list({part: None for name in raw for part in name.split(b"/") if not part.isascii()})[:_MOST]
