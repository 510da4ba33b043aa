"""Models and recordings kept between reruns and shared by all sessions; a few only, since both are large."""

import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from threading import Lock
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import streamlit as st

import explorer
from explorer import malloc
from explorer.attention.recording import Recording
from explorer.models import registry
from explorer.models.backbone import Model
from explorer.models.preprocess import Fit
from explorer.models.source import ModelSource
from explorer.ui.photos import Photo
from explorer.words import size_in_words

T = TypeVar("T")
MODELS = 3  # a ViT-B is 330 MB
RECORDINGS = 2  # ViT-S/8 at 480 px is 132 MB
POLL = 0.1  # seconds between two looks at a download
_numbers: WeakKeyDictionary[Model, int] = WeakKeyDictionary()
_count, _numbering = count(), Lock()


def load_model(source: str | ModelSource) -> Model:
    """explorer.load_model, kept; a file or folder that changed on disk is read again.

    Until the model is there, a bar shows the bytes of its download where this is called.
    """
    job = _loader().job(ModelSource.of(source))
    if not job.future.done():
        _show_progress(job)
    return job.future.result()


def record(model: Model, photo: Photo, size: int, fit: Fit = "crop") -> Recording:
    """explorer.record, kept."""
    key = (model, photo.key, size, fit)  # the very object: a file that is loaded anew, or in another way, is another
    shelf = _shelf()
    kept = shelf.find(key)
    if kept:
        return kept
    with st.spinner("Looking at the photo …"):
        image = photo.image  # read here: it asks Streamlit's cache, which is not for other threads
        return shelf.make(key, lambda: explorer.record(model, image, size=size, fit=fit))


def in_recording_thread(work: Callable[[], T]) -> T:
    """Do it in the thread that makes recordings, and keep nothing; `work` must not touch Streamlit."""
    return _shelf().pool.submit(work).result()


@dataclass
class _Shelf:
    """The last few recordings, made one at a time in one thread.

    An old one goes before a new one is made, and one thread uses one part of the heap again and again: with a thread of
    its own for every rerun, memory would creep up with each photo.
    """

    kept: OrderedDict[tuple, Recording] = field(default_factory=OrderedDict)
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "record"))

    def find(self, key: tuple) -> Recording | None:
        """The recording of that key, None where it isn't kept."""
        return self.kept.get(key)

    def make(self, key: tuple, record: Callable[[], Recording]) -> Recording:
        """Make the recording of that key and keep it, unless another session just did."""
        return self.pool.submit(self._make, key, record).result()

    def _make(self, key: tuple, record: Callable[[], Recording]) -> Recording:
        if key not in self.kept:
            while len(self.kept) >= RECORDINGS:
                self.kept.popitem(last=False)
            self.kept[key] = record()
            malloc.give_back()
        return self.kept[key]


def model_number(model: Model) -> int:
    """A number that only this loaded model has: what is cached by Streamlit of a model goes by it."""
    with _numbering:
        return _numbers.setdefault(model, next(_count))


@st.cache_resource(show_spinner=False)
def _shelf() -> Any:
    malloc.settle()
    return _Shelf()


def stamp(source: str) -> tuple[int, int] | None:
    """What changes when the file, or the folder, of that source does."""
    path = registry.resolve(source)
    if not path.exists():
        return None
    files = [path] if path.is_file() else [file for file in path.iterdir() if file.is_file()]
    return max((file.stat().st_mtime_ns for file in files), default=0), sum(file.stat().st_size for file in files)


@dataclass
class _Job:
    """One model being loaded, or loaded, in another thread."""

    future: Future[Model]
    done: int = 0  # bytes of the file under way
    total: int = 0


@dataclass
class _Loader:
    """Loads models in threads of its own, which never touch Streamlit, and keeps the last few."""

    jobs: OrderedDict[tuple, _Job] = field(default_factory=OrderedDict)
    lock: Lock = field(default_factory=Lock)
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2, "load-model"))

    def job(self, source: ModelSource) -> _Job:
        """The job of that model; one that failed is tried again."""
        key = (source, stamp(source.source))
        with self.lock:
            job = self.jobs.get(key)
            if job is None or (job.future.done() and job.future.exception()):
                job = self.jobs[key] = self._start(source)
            self.jobs.move_to_end(key)
            while len(self.jobs) > MODELS:
                self.jobs.popitem(last=False)
        return job

    def _start(self, source: ModelSource) -> _Job:
        job = _Job(Future())

        def progress(done: int, total: int) -> None:
            job.done, job.total = done, total

        def load() -> Model:
            model = explorer.load_model(source, progress=progress)
            malloc.give_back()
            return model

        job.future = self.pool.submit(load)
        return job


@st.cache_resource(show_spinner=False)
def _loader() -> Any:
    return _Loader()


def _show_progress(job: _Job) -> None:
    place = st.empty()
    while not job.future.done():
        if job.total:
            place.progress(
                min(1.0, job.done / job.total), f"Downloading: {size_in_words(job.done)} of {size_in_words(job.total)}"
            )
        else:
            place.progress(0.0, "Loading the model …")
        time.sleep(POLL)
    place.empty()
