"""Step Data of the Fine-tune page: where the images come from."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from explorer.data.builtin import BUILTIN, write_builtin
from explorer.data.datasets import Progress, read_dataset
from explorer.data.report import DatasetReport
from explorer.data.server_folder import data_folder, server_dataset, server_datasets
from explorer.errors import DataError
from explorer.ui.finetune_uploads import keep_upload, uploads_folder
from explorer.ui.uploads import let_go

Reader = Callable[[Path, Path, Progress], DatasetReport]
KEPT_REPORTS = 8
LARGEST = 2000  # MB
UPLOAD, SERVER = "Upload a zip", "Folder on the server"
SIZES = {"digits": (100, 1_500, 500), "cifar10": (200, 20_000, 1_000)}  # least, most and usual number of images
_CHOSEN = "finetune_data"  # (path, title) of the data set in use
_UPLOADS = "finetune_uploads"  # number of the uploader's newest generation: a new key empties it


@dataclass(frozen=True)
class Dataset:
    """A data set that was read: what the trainer is given, what people call it, and what was found in it."""

    path: Path
    title: str
    report: DatasetReport


def choose_data() -> None:
    """The chooser; what was chosen is what dataset_in_use() gives from then on."""
    titles = {key: about.split(":")[0] for key, about in BUILTIN.items()}
    options = [UPLOAD, *([SERVER] if server_datasets() else []), *titles]
    kind = st.segmented_control(
        "Images from", options, format_func=lambda option: titles.get(option) or option, default=UPLOAD,
        key="finetune_source", required=True, persist_state="session",
    )  # fmt: skip
    if kind == UPLOAD:
        _upload()
    elif kind == SERVER:
        _on_server()
    elif kind:
        _builtin(kind)


def dataset_in_use() -> Dataset | None:
    """The data set that was chosen last; DataError where it can't be used."""
    path, title = st.session_state.get(_CHOSEN, (None, ""))
    if path is None:
        return None
    report = read_once(path, title)
    if isinstance(report, DataError):
        raise report
    return Dataset(path, title, report)


def _use(path: Path, title: str) -> None:
    st.session_state[_CHOSEN] = (path, title)


def _upload() -> None:
    generation = st.session_state.setdefault(_UPLOADS, 0)
    upload = st.file_uploader(
        "A zip with one folder of images for each class", "zip", key=f"zip_{generation}", max_upload_size=LARGEST
    )
    if upload is not None:
        _use(keep_upload(upload, ".zip"), upload.name)
        let_go([upload])
        st.session_state[_UPLOADS] = generation + 1
        st.rerun()


def _on_server() -> None:
    name = st.selectbox(f"In {data_folder().name}/", server_datasets(), key="finetune_server", persist_state="session")
    if name and st.button("Use these images", key="use_server"):
        _use(server_dataset(name), name)


def _builtin(name: str) -> None:
    least, most, usual = SIZES[name]
    size = st.slider(
        f"{BUILTIN[name]}. How many to take:", least, most, usual, 100, key=f"size_{name}", persist_state="session"
    )
    if st.button("Use these images", key=f"use_{name}"):
        with st.spinner("Getting the images"):
            folder = write_builtin(name, uploads_folder() / f"{name}-{size}", size)
        _use(folder, folder.name)


@st.cache_resource(show_spinner=False)
def _reports() -> OrderedDict[tuple[str, str, float], DatasetReport | DataError]:
    return OrderedDict()  # shared by all sessions; a cached function could not draw the progress bar


def read_once(path: Path, title: str, read: Reader = read_dataset) -> DatasetReport | DataError:
    """What is in a data set, or why it can't be used: read once while its file stays as it is."""
    reports = _reports()
    try:
        key = (read.__name__, str(path), path.stat().st_mtime)
    except OSError:
        return DataError(f"'{title}' is no longer on the server: choose it again.")
    report = reports.get(key)
    if report is None:
        out = uploads_folder() / f"{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.images"
        report = reports[key] = _read_with_progress(read, path, title, out)
    while len(reports) > KEPT_REPORTS:
        reports.popitem(last=False)
    return report


def _read_with_progress(read: Reader, path: Path, title: str, out: Path) -> DatasetReport | DataError:
    bar = st.progress(0.0, "Reading the images")

    def show(done: int, total: int) -> None:
        bar.progress(done / total, f"Reading the images: {done:,} of {total:,}")

    try:
        return read(path, out, show)
    except DataError as error:
        return DataError(str(error).replace(f"'{path.name}'", f"'{title}'"))  # by the name the person knows
    finally:
        bar.empty()
