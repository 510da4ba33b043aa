"""Models and recordings kept between reruns and shared by all sessions; a few only, since both are large."""

import time
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import streamlit as st

import explorer
from explorer.attention.recording import Recording
from explorer.models import registry
from explorer.models.backbone import Model
from explorer.models.preprocess import Fit
from explorer.ui.memory import give_back
from explorer.ui.photos import Photo

MODELS = 3  # a ViT-B is 330 MB
RECORDINGS = 2  # ViT-S/8 at 480 px is 132 MB
_RECORDED = "recorded"  # key of the session's newest recording
POLL = 0.1  # seconds between two looks at a download


def load_model(source: str, arch: str | None = None, num_heads: int | None = None) -> Model:
    """explorer.load_model, kept; a file or folder that changed on disk is read again.

    Until the model is there, a bar shows the bytes of its download where this is called.
    """
    job = _loader().job(source, arch, num_heads)
    if not job.future.done():
        _show_progress(job)
    return job.future.result()


def record(
    model: Model,
    photo: Photo,
    size: int,
    fit: Fit = "crop",
    arch: str | None = None,
    num_heads: int | None = None,
) -> Recording:
    """explorer.record, kept; arch and num_heads are those the model was loaded with."""
    key = (model.source, arch, num_heads, stamp(model.source), photo.key, size, fit)
    recording = _record(key, model, photo, size, fit)
    if st.session_state.get(_RECORDED) != key:
        st.session_state[_RECORDED] = key
        give_back()  # only here has the cache let go of the recording that fell out
    return recording


@st.cache_resource(max_entries=RECORDINGS, show_spinner="Looking at the photo …")
def _record(key: tuple, _model: Model, _photo: Photo, _size: int, _fit: Fit) -> Recording:
    return explorer.record(_model, _photo.image, size=_size, fit=_fit)


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

    def job(self, source: str, arch: str | None, num_heads: int | None) -> _Job:
        """The job of that model; one that failed is tried again."""
        key = (source, arch, num_heads, stamp(source))
        with self.lock:
            job = self.jobs.get(key)
            if job is None or (job.future.done() and job.future.exception()):
                job = self.jobs[key] = self._start(source, arch, num_heads)
            self.jobs.move_to_end(key)
            while len(self.jobs) > MODELS:
                self.jobs.popitem(last=False)
        return job

    def _start(self, source: str, arch: str | None, num_heads: int | None) -> _Job:
        job = _Job(Future())

        def progress(done: int, total: int) -> None:
            job.done, job.total = done, total

        def load() -> Model:
            return explorer.load_model(source, arch=arch, num_heads=num_heads, progress=progress)

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
                min(1.0, job.done / job.total), f"Downloading: {_megabytes(job.done)} of {_megabytes(job.total)}"
            )
        else:
            place.progress(0.0, "Loading the model …")
        time.sleep(POLL)
    place.empty()


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
