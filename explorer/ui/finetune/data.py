"""Step Data of the Fine-tune page: where the images come from."""

from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from explorer import paths
from explorer.data.builtin import BUILTIN, write_builtin
from explorer.data.report import DatasetReport
from explorer.data.server_folder import server_dataset, server_datasets
from explorer.errors import DataError
from explorer.ui.datasets import (
    LARGEST,
    data_place,
    data_suffix,
    keep_data,
    read_data,
    upload_labels,
    uploads_folder,
    used_before,
)
from explorer.ui.uploads import largest_upload, let_go

UPLOAD, BEFORE, SERVER = "Upload a zip", "Used before", "Folder on the server"
SIZES = {"digits": (100, 1_500, 500), "cifar10": (200, 20_000, 1_000)}  # least, most and usual number of images
DATA = "data"  # names the data set in use, in the session and in the address, so that a reload finds it again
_ON_SERVER = "server/"  # begins the names of those in the server's folder
_REFUSED = "finetune_refused"  # why the newest upload can't be used
_BEGUN = "finetune_begun"  # name of the data set being read: a click meanwhile ends that run, and the next one goes on
_UPLOADS = "finetune_uploads"  # number of the uploader's newest generation: a new key empties it


@dataclass(frozen=True)
class Dataset:
    """A data set that was read: where it lies, what people call it, the folder of what was read, and its report."""

    path: Path
    title: str
    stored: Path
    report: DatasetReport


def choose_data() -> None:
    """The chooser; what was chosen is what dataset_in_use() gives from then on. DataError where it can't be used."""
    _restore()
    titles = {key: about.split(":")[0] for key, about in BUILTIN.items()}
    before = used_before()
    options = [UPLOAD, *([BEFORE] if before else []), *([SERVER] if server_datasets() else []), *titles]
    kind = st.segmented_control(
        "Images from", options, format_func=lambda option: titles.get(option) or option, default=UPLOAD,
        key="finetune_source", required=True, persist_state="session",
    )  # fmt: skip
    if kind == UPLOAD:
        _upload()
    elif kind == BEFORE:
        _used_before(before)
    elif kind == SERVER:
        _on_server()
    elif kind:
        _builtin(kind)
    if _REFUSED in st.session_state:
        raise DataError(st.session_state[_REFUSED])


def dataset_in_use() -> Dataset | None:
    """The data set that was chosen last, or that the address names; DataError where it is gone."""
    _restore()
    name = st.session_state.get(DATA)
    if name is None:
        return None
    st.query_params[DATA] = name
    path, title = _find(name)
    return Dataset(path, title, data_place(path, title), read_data(path, title))


def _restore() -> None:
    """Go on with what was begun; after a reload the address still names the data set."""
    if _BEGUN in st.session_state:
        _use(st.session_state[_BEGUN])
    linked = st.query_params.get(DATA)
    if linked and DATA not in st.session_state:
        _use(linked)
        if DATA not in st.session_state:
            del st.query_params[DATA]


def _use(name: str) -> None:
    """Take the data set of that name, or keep the one in use and say why not."""
    st.session_state[_BEGUN] = name
    try:
        read_data(*_find(name))
    except DataError as error:
        st.session_state[_REFUSED] = str(error)
    else:
        st.session_state[DATA] = name
        st.session_state.pop(_REFUSED, None)
    st.session_state.pop(_BEGUN, None)


def _find(name: str) -> tuple[Path, str]:
    """Path and title of a data set by the name that the address may hold; only what is on offer is found."""
    title = name.removeprefix(_ON_SERVER)
    if name != title:
        return server_dataset(title), title
    found = used_before().get(name)
    if found is None:
        raise DataError("The data set of this address is no longer on the server: choose it again.")
    return uploads_folder() / name, found


def _upload() -> None:
    generation = st.session_state.setdefault(_UPLOADS, 0)
    label, largest = "A zip with one folder of images for each class", largest_upload(LARGEST)
    upload = st.file_uploader(label, "zip", key=f"zip_{generation}", max_upload_size=largest)
    if upload is None:
        return
    try:
        st.session_state[_BEGUN] = keep_data(upload, data_suffix(upload.name)).name
    except DataError as error:
        st.session_state[_REFUSED] = str(error)
    st.session_state[_UPLOADS] = generation + 1
    let_go([upload])
    st.rerun()


def _used_before(titles: dict[str, str]) -> None:
    labels = upload_labels(titles)
    name = st.selectbox("The newest first", list(labels), format_func=labels.__getitem__, key="finetune_before")
    if name and st.button("Use these images", key="use_before"):
        _use(name)


def _on_server() -> None:
    name = st.selectbox(f"In {paths.data().name}/", server_datasets(), key="finetune_server", persist_state="session")
    if name and st.button("Use these images", key="use_server"):
        _use(_ON_SERVER + name)


def _builtin(name: str) -> None:
    least, most, usual = SIZES[name]
    size = st.slider(
        f"{BUILTIN[name]}. How many to take:", least, most, usual, 100, key=f"size_{name}", persist_state="session"
    )
    if st.button("Use these images", key=f"use_{name}"):
        with st.spinner("Getting the images"):
            folder = write_builtin(name, uploads_folder() / f"{name}-{size}", size)
        _use(folder.name)
