"""Models and recordings kept between reruns and shared by all sessions; a few only, since both are large."""

import gc
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from threading import Lock, Thread, Timer
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakKeyDictionary

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

import explorer
from explorer import malloc, paths
from explorer.errors import ExplorerError, ModelError
from explorer.models import registry
from explorer.models.formats.trial import trial_reading
from explorer.models.source import ModelSource
from explorer.ui import libraries
from explorer.ui.photos import Photo
from explorer.visitors.passes import PassQueue
from explorer.visitors.settings import has_visitors
from explorer.words import size_in_words

if TYPE_CHECKING:
    from explorer.attention.recording import Recording
    from explorer.models.backbone import Model
    from explorer.models.preprocess import Fit

T = TypeVar("T")
MODELS = 3  # a ViT-B is 330 MB
RECORDINGS = 2  # ViT-S/8 at 480 px is 132 MB
LARGE = 32 * 2**20  # bytes of recordings that are worth a search for garbage
MANY_BYTES = 256 * 2**20  # with many visitors, more are kept up to here: each comes back to their own
IDLE = 120  # seconds in which nobody asked for a recording until many visitors' are forgotten
MOST_LOADING = 8  # models at once: some may be stuck on files that never come
PATIENCE = 300  # seconds without a byte until a load is given up
POLL = 0.1  # seconds between two looks at a download
_numbers: "WeakKeyDictionary[Model, int]" = WeakKeyDictionary()
_count, _numbering = count(), Lock()


def load_model(source: str | ModelSource) -> "Model":
    """explorer.load_model, kept; a file or folder that changed on disk is read again.

    Until the model is there, a bar shows the bytes of its download where this is called.
    """
    job = _loader().job(ModelSource.of(source))
    if not job.future.done():
        _show_progress(job)
    return job.future.result()


def is_loaded(source: ModelSource) -> bool:
    """Whether load_model answers at once, with the model or with what is wrong with it."""
    job = _loader().known(source)
    return job is not None and job.future.done()


def begin_loading(source: ModelSource) -> None:
    """Start what load_model would wait for."""
    _loader().job(source)


def record(model: "Model", photo: Photo, size: int, fit: "Fit" = "crop") -> "Recording":
    """explorer.record, kept."""
    key = (model, photo.key, size, fit)  # the object itself: a file that is loaded again, or in another way, is another
    shelf = _shelf()
    kept = shelf.find(key)
    if kept:
        return kept
    with st.spinner("Running the model on the photo …"):
        image = photo.image  # read here: it asks Streamlit's cache, which is not for other threads
        return shelf.make(key, lambda: explorer.record(model, image, size=size, fit=fit))


def in_recording_thread(work: Callable[[], T]) -> T:
    """Do it in the thread that makes recordings, and keep nothing; `work` must not touch Streamlit."""
    return _shelf().do(work)


@dataclass
class Shelf:
    """The last few recordings, made in the queue of passes; an old one is dropped before a new one is made."""

    kept: "OrderedDict[tuple, Recording]" = field(default_factory=OrderedDict)
    line: PassQueue = field(default_factory=PassQueue)
    asked: float = 0.0  # when somebody last asked for one
    watched: bool = False  # whether a timer will look at that

    def find(self, key: tuple) -> "Recording | None":
        """The recording of that key, None where it isn't kept."""
        self.asked = time.monotonic()
        return self.kept.get(key)

    def make(self, key: tuple, record: "Callable[[], Recording]") -> "Recording":
        """Make the recording of that key and keep it, unless another session just did."""
        self.asked = time.monotonic()
        return self.do(lambda: self._make(key, record))

    def do(self, work: Callable[[], T]) -> T:
        """Do it in the queue of passes, unless the page is to be drawn again before it begins."""
        return self.line.do(work, _give_way)

    def _make(self, key: tuple, record: "Callable[[], Recording]") -> "Recording":
        if key not in self.kept:
            most, dropped = MANY_BYTES if has_visitors() else 0, 0
            while len(self.kept) >= RECORDINGS and sum(map(_bytes, self.kept.values())) >= most:
                dropped += _bytes(self.kept.popitem(last=False)[1])
            if dropped > LARGE:  # what a fragment of its page still holds, a function that refers to itself
                gc.collect()
            self.kept[key] = record()
            if self.line.is_last:  # the next pass would only fetch the same pages again
                malloc.give_back()
            if has_visitors() and not self.watched:
                self._watch()
        return self.kept[key]

    def _watch(self) -> None:
        """Forget all of them, here or in a thread of its own, once nobody has asked for long."""
        left = self.asked + IDLE - time.monotonic()
        self.watched = left > 0
        if self.watched:
            timer = Timer(left, self._watch)
            timer.daemon = True
            timer.start()
        else:
            self.line.pool.submit(self._forget)  # the thread that makes them

    def _forget(self) -> None:
        self.kept.clear()
        malloc.give_back()


def _bytes(recording: "Recording") -> int:
    """What its q and k take."""
    return sum(tensor.nbytes for call in recording.calls for tensor in (call.q, call.k))


def _give_way() -> None:
    """End this run of the script where a newer one is wanted: Streamlit does that whenever the session is asked."""
    if get_script_run_ctx(suppress_warning=True):
        _ = "visitor" in st.session_state


class KeptWith(Generic[T]):
    """What was made of a recording, kept for as long as the recording is: the newest few.

    It must not refer to the recording, which would then be kept for good.
    """

    def __init__(self, most: int):
        self.most = most
        self._made: WeakKeyDictionary[Recording, dict[Any, T]] = WeakKeyDictionary()

    def get(self, rec: "Recording", asked: Any, make: Callable[[], T]) -> T:
        """What is kept for `asked`, or what make() makes in the thread of recordings."""
        kept = self._made.setdefault(rec, {})
        if asked not in kept:
            made = in_recording_thread(make)
            while len(kept) >= self.most:
                kept.pop(next(iter(kept)), None)
            kept[asked] = made
        return kept[asked]


def model_number(model: "Model") -> int:
    """A number that only this loaded model has: the key of what Streamlit caches of it."""
    with _numbering:
        return _numbers.setdefault(model, next(_count))


@st.cache_resource(show_spinner=False)
def _shelf() -> Any:
    malloc.settle()
    return Shelf()


def stamp(source: str) -> tuple[int, int] | None:
    """What changes when the source's file or folder does."""
    path = registry.resolve(source)
    if not path.exists():
        return None
    files = [path] if path.is_file() else [file for file in path.iterdir() if file.is_file()]
    return max((file.stat().st_mtime_ns for file in files), default=0), sum(file.stat().st_size for file in files)


def _key(source: ModelSource) -> tuple:
    """What distinguishes loaded models, the folder included, since two visitors may each have a checkpoints/NAME."""
    entry = registry.find(source.source)
    return source, str(registry.resolve(entry.source if entry else source.source)), stamp(source.source)


@dataclass
class _Job:
    """One model being loaded, or loaded, in a thread of its own."""

    source: ModelSource
    future: "Future[Model]" = field(default_factory=Future)
    thread: Thread | None = None
    done: int = 0  # bytes of the file under way
    total: int = 0
    moved: float = field(default_factory=time.monotonic)  # when bytes last came

    @property
    def busy(self) -> bool:
        """Whether its thread still runs, given up or not."""
        return self.thread is not None and self.thread.is_alive()

    def progress(self, done: int, total: int) -> None:
        """What a download calls."""
        self.done, self.total, self.moved = done, total, time.monotonic()

    def run(self) -> None:
        """Load it: what the thread does. Errors that no person can mend show in the server's log."""
        try:
            libraries.wait()
            self.moved = time.monotonic()
            with trial_reading():
                model = explorer.load_model(self.source, progress=self.progress)
            malloc.give_back()
            self.finish(model, None)
        except ExplorerError as error:
            self.finish(None, error)
        finally:  # whoever waits gets an answer in any case
            self.finish(None, ModelError(f"Loading {self.source.source} failed: the server's log shows why."))

    def give_up_if_stuck(self) -> None:
        """Fail where nothing moved for long; the thread can't be ended, but nobody waits for it any more."""
        if time.monotonic() - self.moved > PATIENCE:
            name = self.source.source
            self.finish(None, ModelError(f"Loading {name} took over {PATIENCE} s without progress: check its files."))

    def finish(self, model: "Model | None", error: ExplorerError | None) -> None:
        """Set the result, unless there is one or the job was given up."""
        with suppress(InvalidStateError):
            if model is not None:
                self.future.set_result(model)
            else:
                self.future.set_exception(error)


@dataclass
class Loader:
    """Loads each model in a thread of its own, which never touches Streamlit, and keeps the last few."""

    jobs: OrderedDict[tuple, _Job] = field(default_factory=OrderedDict)
    lock: Lock = field(default_factory=Lock)

    def job(self, source: ModelSource) -> _Job:
        """The job of that model; one that failed is tried again once its thread has ended.

        Raises ModelError while MOST_LOADING others are being loaded.
        """
        key = _key(source)
        with self.lock:
            job = self.jobs.get(key)
            if job is None or (job.future.done() and job.future.exception() and not job.busy):
                job = self.jobs[key] = self._start(source)
            self.jobs.move_to_end(key)
            ended = [key for key, job in self.jobs.items() if not job.busy]
            for old in ended[: max(0, len(self.jobs) - MODELS)]:
                if old != key:
                    del self.jobs[old]
        return job

    def known(self, source: ModelSource) -> _Job | None:
        """The job of that model, None where nobody asked for it yet."""
        with self.lock:
            return self.jobs.get(_key(source))

    def _start(self, source: ModelSource) -> _Job:
        if sum(job.busy for job in self.jobs.values()) >= MOST_LOADING:
            raise ModelError(f"{MOST_LOADING} models are being loaded: try again when one of them is ready.")
        job = _Job(source)
        job.thread = Thread(target=paths.for_same_visitor(job.run), name="load-model", daemon=True)
        job.thread.start()
        return job


@st.cache_resource(show_spinner=False)
def _loader() -> Any:
    return Loader()


def _show_progress(job: _Job) -> None:
    place = st.empty()
    while not job.future.done():
        job.give_up_if_stuck()
        if job.total:
            place.progress(
                min(1.0, job.done / job.total),
                f"Downloading: {size_in_words(job.done, 1)} of {size_in_words(job.total, 1)}",
            )
        else:
            place.progress(0.0, f"Loading {'the model' if libraries.ready() else 'PyTorch'} …")
        time.sleep(POLL)
    place.empty()
