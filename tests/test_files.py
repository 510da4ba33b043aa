"""A file is written whole or not at all, and nothing of a failed one stays."""

import sys
from pathlib import Path

import pytest

from explorer.files import whole_file, write_whole


def test_a_file_takes_the_place_of_the_old_one_when_it_is_whole(tmp_path):
    path = tmp_path / "state.json"
    path.write_text("old")
    with whole_file(path) as partial:
        partial.write_text("ne")
        assert path.read_text() == "old" and partial.parent == tmp_path
        partial.write_text("new ü", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == "new ü"
    assert list(tmp_path.iterdir()) == [path]
    write_whole(path, "newer")
    assert path.read_text() == "newer"


@pytest.mark.parametrize("letter", ["x", "🐱"])
def test_a_name_as_long_as_the_disk_takes_is_written(tmp_path, letter):
    path = tmp_path / (letter * (251 // len(letter.encode())) + ".txt")
    write_whole(path, b"\x00whole")
    assert path.read_bytes() == b"\x00whole" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_failure_keeps_the_old_file_and_leaves_no_other(tmp_path, error):
    path = tmp_path / "state.json"
    path.write_text("old")

    def fail(partial: Path) -> None:
        partial.write_text("half")
        raise error

    with pytest.raises(error), whole_file(path) as partial:
        fail(partial)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_who_may_read_a_file_stays_as_it_was(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("old")
    path.chmod(0o600)
    write_whole(path, "new")
    assert path.read_text() == "new" and path.stat().st_mode & 0o777 == 0o600
