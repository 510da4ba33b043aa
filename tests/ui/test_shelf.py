"""Recordings that are kept between runs."""

import time
from types import SimpleNamespace
from typing import Any

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
