"""Recordings that are kept between runs."""

import gc
import time
import weakref
from types import SimpleNamespace
from typing import Any, cast

from explorer.ui import cached


def test_many_visitors_recordings_go_once_nobody_has_asked_for_long(monkeypatch):
    monkeypatch.setattr(cached, "has_visitors", lambda: True)
    monkeypatch.setattr(cached, "IDLE", 0.2)
    shelf = cached.Shelf()
    recording: Any = SimpleNamespace(calls=[])
    assert shelf.make(("photo",), lambda: recording) is recording
    assert shelf.find(("photo",)) is recording
    until = time.monotonic() + 30
    while shelf.kept and time.monotonic() < until:
        time.sleep(0.02)
    assert shelf.find(("photo",)) is None
    assert shelf.make(("photo",), lambda: recording) is recording  # and it goes on


def test_one_persons_recordings_stay(monkeypatch):
    monkeypatch.setattr(cached, "IDLE", 0.0)
    shelf = cached.Shelf()
    recording: Any = SimpleNamespace(calls=[])
    shelf.make(("photo",), lambda: recording)
    shelf.do(lambda: None)  # whatever would take it away has had its turn
    assert not shelf.watched and shelf.find(("photo",)) is recording


class Large:
    """A recording of 128 MB that a function which refers to itself holds, as a page's fragment does."""

    def __init__(self):
        tensor = SimpleNamespace(nbytes=2**26)
        self.calls = [SimpleNamespace(q=tensor, k=tensor)]
        self.holder = lambda: self


def test_a_large_recording_that_a_cycle_holds_is_gone_before_the_next_one_is_made():
    shelf, first, seen = cached.Shelf(), [], []

    def look() -> Any:
        seen.append(first[0]())
        return Large()

    gc.collect()
    gc.disable()
    try:
        for number in range(cached.RECORDINGS):
            made: Any = shelf.make((number,), lambda: cast(Any, Large()))
            first.append(weakref.ref(made))
            del made
        assert first[0]() is not None
        shelf.make(("next",), look)
        assert seen == [None]
    finally:
        gc.enable()
