"""Names of zips from everywhere are read as they were meant, and never become alike."""

import struct
import zipfile
import zlib
from pathlib import Path

import pytest

from explorer.data.datasets import read_dataset
from explorer.data.zip_names import decode_names
from tests.zips import CENTRAL, LOCAL, picture


def infos(names, codec="utf-8", flag=0, extra=b""):
    """Headers as zipfile makes them of names in that code page."""
    found = []
    for name in names:
        info = zipfile.ZipInfo(name if flag else name.encode(codec).decode("cp437"))
        info.flag_bits, info.extra = flag, extra
        found.append(info)
    return found


def foreign_zip(path: Path, files: dict[bytes, bytes]) -> Path:
    """A zip whose names are these bytes, without the flag for UTF-8."""
    stand_ins = {f"{number:0{len(name)}d}": name for number, name in enumerate(files)}
    with zipfile.ZipFile(path, "w") as archive:
        for stand_in, data in zip(stand_ins, files.values(), strict=True):
            archive.writestr(stand_in, data)
    data = path.read_bytes()
    for stand_in, name in stand_ins.items():
        for magic, offset in ((LOCAL, 30), (CENTRAL, 46)):
            start = data.find(magic)
            while not data.startswith(stand_in.encode(), start + offset):
                start = data.index(magic, start + 1)
            data = data[: start + offset] + name + data[start + offset + len(name) :]
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "codec, classes",
    [
        ("cp932", ("ソース", "ソーダ", "水")), ("cp932", ("表", "予算")), ("cp932", ("犬", "猫")),
        ("gbk", ("苹果", "香蕉", "橙子")), ("gbk", ("猫", "狗")), ("gbk", ("正常", "异常")),
        ("big5", ("許可", "許願", "貓")), ("big5", ("功能", "成功")), ("big5", ("蘋果", "香蕉")),
        ("cp950", ("圍棋碁", "裏面")),
        ("cp949", ("고양이", "강아지")), ("cp949", ("사과", "바나나")),
        ("cp866", ("кошки", "собаки")), ("cp866", ("Яблоки", "Груши")), ("cp1251", ("кошки", "собаки")),
        ("cp437", ("Größe", "Bär")), ("cp850", ("pão", "maçã")), ("cp1252", ("été", "hiver")),
        ("cp852", ("żółw", "pies")), ("cp737", ("γάτα", "σκύλος")), ("cp1253", ("γάτα", "σκύλος")),
        ("koi8_r", ("кошки", "собаки")), ("koi8_u", ("ведмідь", "їжак")), ("euc_jp", ("りんご", "バナナ")),
        ("cp862", ("חתולים", "כלבים")), ("cp1255", ("חתול", "כלב")), ("cp720", ("قطط", "كلاب")),
        ("cp1256", ("قطط", "كلاب")), ("cp1256", ("گربه", "سگ‌ها")), ("cp874", ("แมว", "สุนัข")),
        ("cp857", ("kış", "yaz")), ("cp1254", ("köpekler", "kuşlar")), ("cp775", ("mašīnas", "āboli")),
        ("cp1257", ("katės", "šunys", "medžiai")), ("cp1250", ("kočky", "ptáci", "žirafa")),
        ("cp852", ("őz", "tűzoltó")), ("cp1250", ("liście", "drzewa", "kwiaty", "gruszki")),
    ],
)  # fmt: skip
def test_names_in_a_code_page_are_read_and_the_guess_is_said(tmp_path, codec, classes):
    names = [f"{name}/{number}.png".encode(codec) for name in classes for number in range(2)]
    report = read_dataset(foreign_zip(tmp_path / "a.zip", {name: picture(i) for i, name in enumerate(names)}))
    assert report.counts() == dict.fromkeys(sorted(classes), 2)
    assert "in an old code page, read as" in report.notes[0]


def test_vietnamese_is_composed_of_letters_and_tones(tmp_path):
    raw = [("me\u0300o", "mèo"), ("cho\u0301", "chó"), ("hoa hô\u0300ng", "hoa hồng")]  # as code page 1258 has them
    files = {f"{name}/{number}.png".encode("cp1258"): picture(number) for name, _ in raw for number in range(2)}
    report = read_dataset(foreign_zip(tmp_path / "a.zip", files))
    assert report.class_names == tuple(sorted(meant for _, meant in raw))


def test_the_system_of_the_zip_and_its_other_folders_tell_between_code_pages():
    """Of code page 775 the first two names would be nearly as likely Latvian words."""
    found = infos(["bâtiments/1.jpg", "forêt/1.jpg", "chevaux/1.jpg", "moutons/1.jpg", "pommes/1.jpg"], "cp850")
    for info in found:
        info.create_system = 0
    assert decode_names(found).names[:2] == ["bâtiments/1.jpg", "forêt/1.jpg"]


def test_a_doubtful_guess_names_the_other_code_page():
    assert "read as code page 1252, though it could be code page" in decode_names(infos(["pâté/1.jpg"], "cp1252")).note


def test_utf8_without_the_flag_needs_no_note():
    assert decode_names(infos(["10 μm/1.png", "T恤/1.png"])).names == ["10 μm/1.png", "T恤/1.png"]
    names = ["кошки/1.png", "a/猫.png"]
    assert decode_names(infos(names)) == decode_names(infos(names, flag=0x800))
    assert not decode_names(infos(names)).note


def unicode_path(name: str, raw: bytes) -> bytes:
    field = struct.pack("<BL", 1, zlib.crc32(raw)) + name.encode()
    return struct.pack("<HH", 0x7075, len(field)) + field


def test_the_unicode_path_field_is_the_name_where_its_checksum_fits():
    raw = "ソース/1.png".encode("cp932")
    proven = unicode_path("Sauce/1.png", raw)
    assert decode_names(infos(["ソース/1.png"], "cp932", extra=proven)).names == ["Sauce/1.png"]
    stand_in = decode_names(infos(["#U732b/1.png"], extra=unicode_path("猫/1.png", b"#U732b/1.png")))
    assert stand_in.names == ["猫/1.png"]  # Info-ZIP's, where the computer's own code page lacks the letter
    stale = unicode_path("other/1.png", b"another name")
    assert decode_names(infos(["ソース/1.png"], "cp932", extra=stale)).names == ["ソース/1.png"]
    broken = unicode_path("x", raw)[:-3]
    assert decode_names(infos(["ソース/1.png"], "cp932", extra=broken)).names == ["ソース/1.png"]


def test_a_name_that_is_known_tells_the_code_page_of_the_others():
    raw = "çvestka/1.png".encode("cp1252")
    known = infos(["x"], "cp437")[0]
    known.orig_filename = known.filename = raw.decode("cp437")
    known.extra = unicode_path("švestka/1.png", "švestka/1.png".encode("cp852"))
    assert raw == "švestka/1.png".encode("cp852")
    found = decode_names([known, *infos(["hruška/1.png"], "cp852")])
    assert found.names == ["švestka/1.png", "hruška/1.png"] and not found.note


def test_names_that_nothing_explains_stay_different_and_are_said(tmp_path):
    names = [bytes([first, 0x5C, second]) + b"/1.png" for first in (0x81, 0xFF) for second in (0x80, 0xFE)]
    found = decode_names([info for name in names for info in infos([name.decode("cp437")], "cp437")])
    assert len({name.split("/")[0] for name in found.names}) == 4
    assert "can't be recognised" in found.note


def test_control_characters_that_are_all_that_differs_keep_names_apart(tmp_path):
    files = {f"a{sign}/{number}.png": picture(number) for number, sign in enumerate("\x01\x02\x01\x02")}
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    assert len(read_dataset(tmp_path / "a.zip").class_names) == 2


def test_windows_backslashes_beside_letters_that_end_like_one(tmp_path):
    names = [f"{name}\\{number}.png".encode("cp932") for name in ("ソース", "ソーダ", "水") for number in range(2)]
    report = read_dataset(foreign_zip(tmp_path / "a.zip", {name: picture(i) for i, name in enumerate(names)}))
    assert report.counts() == {"ソース": 2, "ソーダ": 2, "水": 2}
