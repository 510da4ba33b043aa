"""Hostile and broken zips are refused with a sentence that names what is wrong; no header is believed."""

import stat
import struct
import zipfile

import pytest

from explorer.data.archives import DamagedEntryError, Limits, is_system_file, open_archive
from explorer.errors import DataError
from tests.zips import patch_headers, picture, write_zip


def read_all(path, limits=None):
    with open_archive(path, limits) as archive:
        return {entry.name: archive.read(entry) for entry in archive.entries}


def test_good_zip_gives_its_bytes(tmp_path):
    files = {"cats/1.png": picture(1), "dogs/2.png": picture(2), "a note.txt": b"hello"}
    assert read_all(write_zip(tmp_path / "good.zip", files)) == files
    assert read_all(write_zip(tmp_path / "stored.zip", files, zipfile.ZIP_STORED)) == files


@pytest.mark.parametrize(
    "name,words",
    [
        ("../../evil.png", "leads out of the zip"),
        ("cats/../../evil.png", "leads out of the zip"),
        ("..\\evil.png", "leads out of the zip"),
        ("__MACOSX/../../evil.png", "leads out of the zip"),
        ("/etc/evil.png", "absolute path"),
        ("C:/evil.png", "absolute path"),
        ("C:\\evil.png", "absolute path"),
        ("\\\\server\\evil.png", "absolute path"),
        ("cats/more.zip", "archive inside the zip"),
        ("cats/more.TAR", "archive inside the zip"),
        ("train.tar.gz", "archive inside the zip"),
    ],
)
def test_entry_refused_by_name(tmp_path, name, words):
    path = write_zip(tmp_path / "bad.zip", {"cats/1.png": picture(1), name: picture(2)})
    with pytest.raises(DataError, match=words) as caught, open_archive(path):
        pass
    assert name.replace("\\", "/") in str(caught.value)


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_special_files_are_refused(tmp_path, mode):
    link = zipfile.ZipInfo("cats/passwords.png")
    link.external_attr = (mode | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match=r"'cats/passwords\.png' is a link"), open_archive(tmp_path / "link.zip"):
        pass


def test_encrypted_entry_is_refused(tmp_path):
    path = write_zip(tmp_path / "secret.zip", {"cats/1.png": picture(1), "cats/2.png": picture(2)})
    patch_headers(path, "cats/2.png", "flags", 1)
    with (
        pytest.raises(DataError, match=r"'cats/2\.png' is encrypted; make the zip without a password"),
        open_archive(path),
    ):
        pass


def test_rare_compression_is_refused(tmp_path):
    path = write_zip(tmp_path / "rare.zip", {"cats/1.png": picture(1)}, zipfile.ZIP_LZMA)
    with pytest.raises(DataError, match="rare method"), open_archive(path):
        pass


def test_bomb_is_refused_on_its_own_claim_and_while_streaming(tmp_path):
    path = write_zip(tmp_path / "bomb.zip", {"cats/zeros.png": bytes(30_000_000)})
    with open_archive(path) as archive:
        with pytest.raises(DataError, match=r"'cats/zeros\.png' unpacks to more than 100 times"):
            archive.check_claims(archive.entries)
        with pytest.raises(DataError, match=r"'cats/zeros\.png' unpacks to more than 100 times"):
            archive.read(archive.entries[0])


def test_bomb_that_claims_to_be_small_gives_no_more_than_it_claims(tmp_path):
    path = write_zip(tmp_path / "liar.zip", {"cats/zeros.png": bytes(30_000_000)})
    patch_headers(path, "cats/zeros.png", "size", 1000)
    with open_archive(path) as archive:
        archive.check_claims(archive.entries)
        with pytest.raises(DamagedEntryError, match="damaged inside the zip"):
            archive.read(archive.entries[0])


def test_bomb_that_claims_a_large_packed_size_gives_nothing(tmp_path):
    path = write_zip(tmp_path / "liar.zip", {"cats/zeros.png": bytes(30_000_000)})
    patch_headers(path, "cats/zeros.png", "packed", 2_000_000_000)
    with open_archive(path) as archive:
        with pytest.raises(DataError, match="unpacks to more than 100 times"):  # the zip itself is only 30 kB
            archive.check_claims(archive.entries)
        with pytest.raises(DamagedEntryError):
            archive.read(archive.entries[0])


def test_entry_that_claims_to_be_large_is_refused(tmp_path):
    path = write_zip(tmp_path / "liar.zip", {"cats/1.png": picture(1)})
    patch_headers(path, "cats/1.png", "size", 3_000_000_000)
    with open_archive(path) as archive, pytest.raises(DataError, match=r"'cats/1\.png' unpacks to more than 50 MB"):
        archive.check_claims(archive.entries)


def test_limits_count_the_bytes_that_come_out(tmp_path):
    files = {f"cats/{number}.png": picture(number) for number in range(4)}
    path = write_zip(tmp_path / "some.zip", files)
    largest, total = max(map(len, files.values())), sum(map(len, files.values()))
    assert read_all(path, Limits(file_bytes=largest, total_bytes=total, entries=4)) == files
    with pytest.raises(DataError, match="unpacks to more than"):
        read_all(path, Limits(file_bytes=largest - 1))
    with pytest.raises(DataError, match=r"'some.zip' unpacks to more than"):
        read_all(path, Limits(total_bytes=total - 1))
    with pytest.raises(DataError, match="more than 3 files"):
        read_all(path, Limits(entries=3))


def test_many_overlapping_claims_stay_under_the_total_ratio(tmp_path):
    """Entries of one megabyte that pack to a kilobyte: each is too small for the ratio, all together are not."""
    path = write_zip(tmp_path / "swarm.zip", {f"cats/{number}.png": bytes(1_000_000) for number in range(10)})
    with pytest.raises(DataError, match=r"'swarm.zip' unpacks to more than 100 times its size"):
        read_all(path)


@pytest.mark.slow
def test_too_many_entries(tmp_path):
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(20_001):
            archive.writestr(f"cats/{number}.png", b"")
    with pytest.raises(DataError, match="more than 20,000 files"), open_archive(path):
        pass


def test_shadow_files_of_a_mac_do_not_count(tmp_path):
    files = {"cats/1.png": b"1", "__MACOSX/cats/._1.png": b"x", "cats/.DS_Store": b"x", "cats/Thumbs.db": b"x"}
    assert len(read_all(write_zip(tmp_path / "mac.zip", files), Limits(entries=1))) == 4


def test_directory_of_absurd_size_is_not_read(tmp_path):
    size = 20_000_000
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, size, 0, 0)
    (tmp_path / "wide.zip").write_bytes(bytes(size) + end)
    with pytest.raises(DataError, match="far too many files"), open_archive(tmp_path / "wide.zip"):
        pass


@pytest.mark.parametrize(
    "data,words", [(b"", "is empty"), (b"just text", "isn't a zip file"), (b"PK\x03\x04", "isn't a zip")]
)
def test_files_that_are_no_zip(tmp_path, data, words):
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(DataError, match=rf"'x\.zip' {words}"), open_archive(tmp_path / "x.zip"):
        pass


def test_zip_cut_short(tmp_path):
    path = write_zip(tmp_path / "cut.zip", {"cats/1.png": picture(1)})
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match="cut short"), open_archive(path):
        pass


def test_damaged_entry_leaves_the_others(tmp_path):
    first, second = picture(1, size=(64, 64)), picture(2)
    path = write_zip(tmp_path / "scratched.zip", {"cats/1.png": first, "cats/2.png": second}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[data.index(first) + 50] ^= 0xFF
    path.write_bytes(data)
    with open_archive(path) as archive:
        with pytest.raises(DamagedEntryError):
            archive.read(archive.entries[0])
        assert archive.read(archive.entries[1]) == second


def test_names_read_as_they_were_meant(tmp_path):
    """macOS writes UTF-8, letters and accents apart, and sets no flag; the flag is set by everything else."""
    path = write_zip(tmp_path / "names.zip", {"Ko\u0308ter/1.png": b"1", "猫/2.png": b"2", "a\nb\x00/3.png": b"3"})
    patch_headers(path, "Ko\u0308ter/1.png", "flags", 0)
    with open_archive(path) as archive:
        assert [entry.name for entry in archive.entries][:2] == ["Köter/1.png", "猫/2.png"]
        assert all(name.isprintable() for name, _ in archive.entries)


@pytest.mark.parametrize(
    "name", ["__MACOSX/a/._b.jpg", ".git/config.png", "a/.hidden.jpg", "a/Thumbs.db", "desktop.ini"]
)
def test_system_files(name):
    assert is_system_file(name)
    assert not is_system_file(name.replace(".", "x").replace("__MACOSX", "mac"))
