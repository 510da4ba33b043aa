"""A weights file that a person uploads: copied in chunks, proven to be a model, and only then put in checkpoints/."""

import re
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

import explorer
from explorer import paths
from explorer.errors import ExplorerError
from explorer.models.formats.config import WEIGHT_SUFFIXES
from explorer.models.formats.trial import tried_first
from explorer.models.source import ModelSource
from explorer.training.runs.jobs import list_runs
from explorer.ui.address import number, take, write
from explorer.ui.messages import sentence_of
from explorer.ui.uploads import keep_upload, let_go, trim

LARGEST = 2000  # MB
LIMIT = 20 * 2**30  # bytes of uploaded weights in checkpoints/, of all sessions
UPLOADED = ".uploaded"  # names them there, one per line: what people put there themselves is never deleted
GRID = "patch_grid"  # end of the key of the grid's field; "grid" in an address is the canvas' lines
FIELDS = ("arch", "heads", GRID)  # ends of the fields' keys
HEADS = 1, 64  # the least and the most
_UPLOADS = "weights_uploads"  # number of the form's newest generation: a new key empties it


def upload_weights() -> ModelSource | None:
    """The form; the new entry of checkpoints/ where a person just sent a file that is a model."""
    generation = st.session_state.setdefault(_UPLOADS, 0)
    with (
        st.popover("Upload weights", icon=":material/upload_file:", width="stretch"),
        st.form(f"weights_{generation}", border=False),
    ):
        file = st.file_uploader("Weights file", list(WEIGHT_SUFFIXES), max_upload_size=LARGEST)
        settings = file_settings("", f"weights_{generation}_")
        sent = st.form_submit_button("Load it", type="primary", width="stretch")
        if not (sent and file):
            return None
        try:
            with st.spinner("Checking the file …"):
                added = _add(file, settings)
        except ExplorerError as error:
            st.error(sentence_of(error))
            return None
    let_go([file])
    st.session_state[_UPLOADS] = generation + 1
    return added


def file_settings(source: str, prefix: str, in_address: bool = False) -> ModelSource:
    """That weights file with what it can't tell, and a person may in fields: architecture, heads and grid.

    prefix: begins the fields' keys. in_address: their values are taken from the address and kept there.
    """
    if in_address:
        take(f"{prefix}arch", str, "")
        take(f"{prefix}heads", number(int, *HEADS), None)
        take(f"{prefix}{GRID}", str, "")
    persist_state = "session" if in_address else None
    arch = st.text_input(
        "Architecture", key=f"{prefix}arch", persist_state=persist_state, placeholder="found from the file",
        help="Its name in timm, where several architectures have the file's shapes.",
    )  # fmt: skip
    left, right = st.columns(2)
    heads = left.number_input(
        "Heads", *HEADS, None, key=f"{prefix}heads", persist_state=persist_state, placeholder="width / 64",
        help="How many heads each layer has, where the file doesn't say and it isn't its width / 64.",
    )  # fmt: skip
    grid = right.text_input(
        "Grid", key=f"{prefix}{GRID}", persist_state=persist_state, placeholder="square",
        help="Rows and columns of the patches that the model was trained on, such as 6x10, where they form no square.",
    )  # fmt: skip
    if in_address:
        for name in FIELDS:
            write(f"{prefix}{name}", str(st.session_state[f"{prefix}{name}"] or "") or None)
    return ModelSource(source, arch.strip() or None, heads, grid.strip() or None)


def _add(file: UploadedFile, settings: ModelSource) -> ModelSource:
    """The file's new entry in checkpoints/; an ExplorerError, and nothing kept, where it is no model."""
    folder = paths.checkpoints()
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=".upload-") as private:
        path = Path(private) / safe_name(file.name)
        keep_upload(file, path.parent, "", LIMIT).rename(path)
        with tried_first():
            explorer.load_model(replace(settings, source=str(path)), device="cpu")
        name = _free_name(path)
        path.rename(folder / name)
    _drop_oldest(folder, name)
    return replace(settings, source=f"checkpoints/{name}")


def _drop_oldest(folder: Path, newest: str) -> None:
    """Note the newest upload, and delete the oldest ones above the limit but for what runs under way are made from."""
    listed = folder / UPLOADED
    with listed.open("a", encoding="utf-8") as file:
        file.write(f"{newest}\n")
    names = set(listed.read_text(encoding="utf-8").split("\n")) & {path.name for path in folder.iterdir()}
    active = [run.options for run in list_runs(paths.runs()) if run.options and run.state.active]
    trim([folder / name for name in names], LIMIT, {newest, *(Path(options.model.source).name for options in active)})


def safe_name(name: str) -> str:
    """A file name without folders, hidden dots or odd characters."""
    return re.sub(r"[^\w.-]+", "-", Path(name).name).lstrip(".-") or "weights.pth"


def _free_name(path: Path) -> str:
    names = [path.name, *(f"{path.stem}-{number}{path.suffix}" for number in range(2, 1000))]
    return next(name for name in names if not (paths.checkpoints() / name).exists())
