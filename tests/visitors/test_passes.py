"""The line of forward passes."""

import threading
from contextlib import suppress

import pytest
import torch

from explorer import paths
from explorer.visitors.passes import PassQueue
from tests.tiny import tiny_model


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
    assert done == [tmp_path / "ann", tmp_path / "bob"] and line.wanted == []


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


def test_work_behind_which_others_wait_takes_one_core_and_the_last_takes_all():
    line, began, go = PassQueue(), threading.Event(), threading.Event()
    cores, before = [], torch.get_num_threads()
    torch.set_num_threads(2)

    def hold() -> None:
        began.set()
        go.wait(10)

    try:
        others = [threading.Thread(target=line.do, args=(hold,))]
        others[0].start()
        began.wait(10)
        for _ in range(2):
            waits = threading.Event()
            ask = (lambda: cores.append(torch.get_num_threads()), waits.set)
            others.append(threading.Thread(target=line.do, args=ask))
            others[-1].start()
            assert waits.wait(10)  # it stands in the queue
        go.set()
        for thread in others:
            thread.join(10)
        line.do(lambda: cores.append(torch.get_num_threads()))
        assert cores[0] == 1 and cores[-1] == torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def test_errors_reach_who_asked():
    with pytest.raises(ZeroDivisionError):
        PassQueue().do(lambda: 1 // 0)


def test_many_visitors_make_one_pass_at_a_time_on_a_device_and_one_person_is_not_held_up(monkeypatch):
    model, most, now = tiny_model(), [0], [0]
    forward = model.adapter.forward

    def slow(module, pixels):
        now[0] += 1
        most[0] = max(most[0], now[0])
        with suppress(threading.BrokenBarrierError):  # the other pass comes, or it has to wait
            barrier.wait()
        now[0] -= 1
        return forward(module, pixels)

    monkeypatch.setattr(type(model.adapter), "forward", lambda self, module, pixels: slow(module, pixels))
    for visitors, expected, patience in (("1", 1, 0.2), ("0", 2, 30)):
        monkeypatch.setenv("EXPLORER_VISITORS", visitors)
        barrier, most[0] = threading.Barrier(2, timeout=patience), 0
        threads = [threading.Thread(target=model.forward, args=(torch.zeros(1, 3, 64, 64),)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert most[0] == expected
