"""What people change of a data set while they look through its photos; the next training uses it."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from explorer import paths
from explorer.data.changes import NO_CHANGES, Change, Changes, read_changes, write_changes
from explorer.data.store import changes_file
from explorer.errors import DataError
from explorer.files import stamp
from explorer.ui.datasets import UPLOADS, data_title, uploads_folder
from explorer.ui.messages import plain, sentence_of

LISTED = 50  # changes that are shown with a button each
_FAILED = "changes_failed"  # why the newest change could not be kept
ANOTHER = "Give it another class"


def kept_changes(data: Path) -> Changes:
    """The changes of the data set at that path; DataError where their file is damaged."""
    file = changes_file(data, paths.runs() / UPLOADS)
    return read_changes(file) if file.is_file() else NO_CHANGES


def show_changes(data: Path, key: str) -> Changes:
    """All changes of the data set as a list, each with Undo; returns them, none where their file is damaged.

    key: begins the keys of the buttons.
    """
    if _FAILED in st.session_state:
        st.error(st.session_state.pop(_FAILED), icon=":material/error:")
    try:
        changes = kept_changes(data)
    except DataError as error:
        st.error(sentence_of(error), icon=":material/error:")
        st.button("Forget the changes", key=f"{key}_forget", on_click=_write, args=(data, NO_CHANGES))
        return NO_CHANGES
    if not changes.entries:
        return changes
    title = f"Changes for the next training on {plain(data_title(str(data)))}: {changes.words()}"
    with st.expander(title, expanded=True, key=f"{key}_changes"):
        for entry in changes.entries[::-1][:LISTED]:
            words, undo = st.columns([5, 1], vertical_alignment="center")
            words.markdown(f"{plain(entry.name)}: {_became(entry)}")
            undo.button("Undo", key=f"{key}_undo_{entry.sha}", on_click=_undo, args=(data, entry.sha), type="tertiary")
        if len(changes.entries) > LISTED:
            st.caption(f"And {len(changes.entries) - LISTED:,} earlier ones.")
        with st.container(horizontal=True):
            st.button("Undo all", key=f"{key}_undo_all", on_click=_write, args=(data, NO_CHANGES))
            st.download_button(
                "changes.json", json.dumps(changes.to_dict(), indent=1, ensure_ascii=False), "changes.json",
                "application/json", on_click="ignore", icon=":material/download:", key=f"{key}_changes_file",
                help="For the command line: finetune … --changes changes.json",
            )  # fmt: skip
        st.caption(
            "The photos themselves stay as they are. Validation photos measure the model: leave out what doesn't "
            "belong, not what is hard, or its scores look better than it is."
        )
    return changes


def _became(entry: Change) -> str:
    if entry.class_name is None:
        return f"{plain(entry.before)}, left out"
    return f"{plain(entry.before)} → **{plain(entry.class_name)}**"


def change_photo(data: Path, photo: Change, class_names: Sequence[str], key: str) -> None:
    """Buttons to leave one photo out or to give it another class, or what was changed of it and Undo."""
    made = kept_changes(data).of(photo.sha)
    with st.container(horizontal=True, vertical_alignment="center"):
        if made:
            st.markdown(f":material/edit: Next training: {_became(made)}")
            st.button("Undo", key=f"{key}_undo_this", on_click=_undo, args=(data, photo.sha))
            return
        st.button(
            "Leave out", key=f"{key}_leave_out", icon=":material/block:", on_click=_add, args=(data, photo),
            help="The next training on these data goes without this photo; the photo itself stays where it is.",
        )  # fmt: skip
        others = [name for name in class_names if name != photo.before]
        box = f"{key}_class_{photo.sha}"
        st.selectbox(
            ANOTHER, others, None, key=box, placeholder=f"{ANOTHER} …", label_visibility="collapsed", width=230,
            on_change=_give_class, args=(data, photo, box),
        )  # fmt: skip


def _give_class(data: Path, photo: Change, box: str) -> None:
    name = st.session_state.pop(box)
    if name is not None:
        _add(data, Change(photo.sha, photo.name, photo.before, name))


def _add(data: Path, change: Change) -> None:
    _write(data, kept_changes(data).add(change))


def _undo(data: Path, sha: str) -> None:
    _write(data, kept_changes(data).undo(sha))


def _write(data: Path, changes: Changes) -> None:
    try:
        write_changes(changes_file(data, uploads_folder()), changes)
    except DataError as error:
        st.session_state[_FAILED] = sentence_of(error)


def sha_of(path: str) -> str:
    """sha256 of a file, hex; "" where it is gone."""
    return _sha_of(path, stamp(path))


@st.cache_data(show_spinner=False, max_entries=5000)
def _sha_of(path: str, stamp: tuple | None) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return ""
