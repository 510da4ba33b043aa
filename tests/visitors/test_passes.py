"""The line of forward passes."""

import threading

import pytest

from explorer import paths
from explorer.visitors.passes import PassQueue


class Newer(Exception):
    """What ends a run of the script that a newer one replaces."""


def test_work_is_done_in_the_order_of_asking_for_whom_it_was_asked(tmp_path):
    line, began, go, done = PassQueue(), threading.Event(), threading.Event(), []

    def hold() -> None:
        began.set()
        go.wait(10)

    first = threading.Thread(target=line.do, args=(hold,))
    first.start()
    began.wait(10)
    others = []
    for name in ("ann", "bob"):
        waits = threading.Event()
        with paths.working_for(tmp_path / name):
            ask = paths.for_same_visitor(lambda w=waits: line.do(lambda: done.append(paths.workspace()), w.set))
        others.append(threading.Thread(target=ask))
        others[-1].start()
        assert waits.wait(10)  # it stands in the line
    go.set()
    for thread in (first, *others):
        thread.join(10)
    assert done == [tmp_path / "ann", tmp_path / "bob"]


def test_who_wants_something_newer_leaves_the_line_and_the_old_work_is_never_done():
    line, began, go, done = PassQueue(), threading.Event(), threading.Event(), []

    def hold() -> None:
        began.set()
        go.wait(10)

    first = threading.Thread(target=line.do, args=(hold,))
    first.start()
    began.wait(10)

    def newer() -> None:
        raise Newer

    with pytest.raises(Newer):
        line.do(lambda: done.append("old"), newer)
    go.set()
    first.join(10)
    assert line.do(lambda: "new") == "new" and done == []


def test_errors_reach_who_asked():
    with pytest.raises(ZeroDivisionError):
        PassQueue().do(lambda: 1 // 0)
