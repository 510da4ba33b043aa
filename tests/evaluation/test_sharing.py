"""Work in parts: shared by processes, each part done once, kept on disk and gone on with."""

from collections.abc import Callable

import pytest

from explorer.errors import DataError
from explorer.evaluation.sharing import Journal, Shared, about
from explorer.launch import Processes
from tests.tiny import tiny_model

ABOUT = {"model": "tiny", "size": 64}


def shared(folder, index: int = 0, count: int = 1, of: dict | None = None) -> Shared:
    """Processes that don't wait for one another: a test runs one after the other."""
    return Shared(7, Processes(index, count), Journal(folder, index), lambda: of or ABOUT)


def noted(asked: list[int]) -> Callable[[int], dict]:
    def work(item: int) -> dict:
        asked.append(item)
        return {"square": item * item, "name": f"ü{item}\n"}

    return work


SQUARES = [{"square": item * item, "name": f"ü{item}\n"} for item in range(7)]


def test_one_process_without_a_folder_gives_what_is_made_as_it_is_made():
    values = Shared(3, Processes()).values(lambda item: (item,))
    assert next(values) == (0,) and list(values) == [(1,), (2,)]


def test_a_stopped_work_goes_on_and_gives_all_in_order(tmp_path):
    first, second, seen = [], [], []
    values = shared(tmp_path / "work").values(noted(first))
    assert [next(values), next(values)] == SQUARES[:2]
    values.close()
    lines = tmp_path / "work" / "lines-0.jsonl"
    lines.write_text(lines.read_text() + '\n{"item": 2, "va')  # killed while it wrote
    again = shared(tmp_path / "work").values(noted(second), lambda done, total: seen.append((done, total)))
    assert list(again) == SQUARES
    assert first == [0, 1] and second == [2, 3, 4, 5, 6]
    assert seen == [(done, 5) for done in range(1, 6)]
    assert list(shared(tmp_path / "work").values(noted(second))) == SQUARES and len(second) == 5


def test_processes_share_what_is_left_and_the_main_one_gives_all(tmp_path):
    alone = shared(tmp_path).values(noted([]))
    next(alone)
    alone.close()
    main, other = [], []
    first, second = shared(tmp_path, 0, 2), shared(tmp_path, 1, 2)
    assert first.left() == [1, 3, 5] and second.left() == [2, 4, 6]
    assert list(second.values(noted(other))) == []
    assert list(first.values(noted(main))) == SQUARES
    assert (main, other) == ([1, 3, 5], [2, 4, 6])


def test_a_folder_that_machines_do_not_share_is_named(tmp_path):
    with pytest.raises(DataError, match=r"\(3 of 7 parts\): name a folder that all machines"):
        list(shared(tmp_path, 0, 2).values(noted([])))


def test_other_work_is_refused_by_what_differs_and_removed_with_nothing_else(tmp_path):
    list(shared(tmp_path / "work").values(noted([])))
    with pytest.raises(DataError, match="other size: give the same options to go on, name another folder"):
        shared(tmp_path / "work", of={**ABOUT, "size": 32}).left()
    (tmp_path / "work" / "about.json").write_text("no json")
    with pytest.raises(DataError, match="can't be read"):
        shared(tmp_path / "work").left()
    (tmp_path / "work" / "mine.txt").write_text("kept")
    Journal(tmp_path / "work").remove()
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["mine.txt"]
    (tmp_path / "work" / "mine.txt").unlink()
    Journal(tmp_path / "work").remove()
    assert not (tmp_path / "work").exists()


def test_what_work_is_of_tells_weights_files_and_settings():
    one = about(tiny_model(), ["a.png", "b.png"], {"size": 64})
    assert one == about(tiny_model(), ["a.png", "b.png"], {"size": 64})
    for other in (
        about(tiny_model(seed=1), ["a.png", "b.png"], {"size": 64}),
        about(tiny_model(), ["a.png"], {"size": 64}),
        about(tiny_model(), ["a.png", "b.png"], {"size": 32}),
    ):
        assert sum(one[key] != other[key] for key in one) == 1
