"""Loading models for many visitors: folders that never come don't keep another's model waiting."""

import threading
import time

import pytest

import explorer
from explorer.errors import ModelError
from explorer.models.source import ModelSource
from explorer.ui import cached
from tests.tiny import tiny_model


@pytest.fixture
def stuck(monkeypatch):
    """load_model never returns for sources called stuck…; the event lets them go."""
    go, calls = threading.Event(), []

    def load(source, progress=None):
        calls.append(source.source)
        if source.source.startswith("stuck"):
            go.wait(30)
        if source.source.startswith("bad"):
            raise ModelError("damaged")
        if source.source.startswith("bug"):
            raise ZeroDivisionError
        return tiny_model()

    monkeypatch.setattr(explorer, "load_model", load)
    yield calls
    go.set()


def test_two_folders_that_never_come_keep_no_third_waiting(stuck):
    loader = cached.Loader()
    for name in ("stuck 1", "stuck 2"):
        loader.job(ModelSource(name))
    began = time.perf_counter()
    assert loader.job(ModelSource("good")).future.result(timeout=10).name == "tiny"
    assert time.perf_counter() - began < 5


def test_what_is_stuck_is_given_up_and_not_begun_again(stuck, monkeypatch):
    loader = cached.Loader()
    job = loader.job(ModelSource("stuck"))
    job.give_up_if_stuck()
    assert not job.future.done()
    monkeypatch.setattr(cached, "PATIENCE", -1)
    job.give_up_if_stuck()
    with pytest.raises(ModelError, match="Loading stuck took over"):
        job.future.result(timeout=1)
    assert loader.job(ModelSource("stuck")) is job and stuck == ["stuck"]


def test_whether_a_model_is_there_is_told_without_loading_it(stuck, monkeypatch):
    loader, good = cached.Loader(), ModelSource("good")
    monkeypatch.setattr(cached, "_loader", lambda: loader)
    assert not cached.is_loaded(good) and stuck == []
    cached.begin_loading(good)
    loader.job(good).future.result(timeout=10)
    assert cached.is_loaded(good) and stuck == ["good"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_of_our_own_ends_the_waiting_too(stuck):
    job = cached.Loader().job(ModelSource("bug"))
    with pytest.raises(ModelError, match="Loading bug failed: the server's log shows why"):
        job.future.result(timeout=10)


def test_only_so_many_are_loaded_at_once(stuck):
    loader = cached.Loader()
    for number in range(cached.MOST_LOADING):
        loader.job(ModelSource(f"stuck {number}"))
    with pytest.raises(ModelError, match="8 models are being loaded: try again"):
        loader.job(ModelSource("good"))


def test_a_model_that_failed_is_tried_again_and_old_ones_go(stuck):
    loader = cached.Loader()
    for _ in range(2):
        job = loader.job(ModelSource("bad"))
        with pytest.raises(ModelError, match="damaged"):
            job.future.result(timeout=10)
        assert job.thread is not None
        job.thread.join()
    assert stuck == ["bad", "bad"]
    for number in range(cached.MODELS + 2):
        job = loader.job(ModelSource(f"good {number}"))
        job.future.result(timeout=10)
        assert job.thread is not None
        job.thread.join()
    assert [job.source.source for job in loader.jobs.values()] == ["good 2", "good 3", "good 4"]
    assert loader.job(ModelSource("good 4")) is job
