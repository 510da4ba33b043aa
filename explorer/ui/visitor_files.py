"""A visitor's files in the sidebar: their size and how to delete them; for an admin, whose files are shown."""

import shutil
from datetime import datetime
from pathlib import Path

import streamlit as st

from explorer.training.runs.jobs import list_runs
from explorer.ui.messages import plain
from explorer.ui.navigation import page_named
from explorer.visitors.quotas import used_lately
from explorer.visitors.settings import settings
from explorer.visitors.workspace import all_workspaces, delete, last_visit
from explorer.words import size_in_words

HOST, OWN = "host", "own"  # in the box of workspaces
BOX = "workspace"
KEPT = {"visitor", "visitor_is_admin", BOX}  # what of a session says whose it is


def your_files(folder: Path) -> None:
    """What the workspace holds, and buttons that delete a model or all of it."""
    with st.popover("Your files", icon=":material/folder:", width="stretch"):
        given = settings()
        size = size_in_words(used_lately(folder)) if folder.is_dir() else "Nothing yet"
        st.caption(
            f"{size} of {given.disk:g} GB. Only you see them; they are deleted {given.days:g} days "
            "after your last visit. Trainings are deleted on Fine-tune, below Runs."
        )
        _delete_model(folder / "checkpoints")
        if any(run.state.active for run in list_runs()):
            st.caption("A training is under way: stop it before you delete everything.")
        elif folder.is_dir() and st.button("Delete all my files", key="delete_workspace", icon=":material/delete:"):
            delete(folder)
            begin_anew()


def _delete_model(checkpoints: Path) -> None:
    names = sorted(path.name for path in checkpoints.iterdir() if path.name[:1] != ".") if checkpoints.is_dir() else []
    if not names:
        return
    name = st.selectbox("A model of yours", names, key=f"own_model_of_{len(names)}")
    # Its key names the model: a second click of a double one must not hit the next.
    if name in names and st.button("Delete this model", key=f"delete_model_{name}"):
        path = checkpoints / name
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        st.rerun()


def begin_anew() -> None:
    """Forget what this window shows of a workspace, and go Home."""
    for key in set(st.session_state) - KEPT:
        del st.session_state[key]
    st.switch_page(page_named("home"), query_params={})  # the address may name what is gone


def pick_workspace(own: Path) -> Path | None:
    """For an admin: whose files the app shows, their own at first; None for the host's."""
    folders = {folder.name: folder for folder in all_workspaces() if folder != own}
    labels = {OWN: "Yours", HOST: "The host's", **{name: _label(folder) for name, folder in folders.items()}}
    if st.session_state.get(BOX) not in labels:  # it went meanwhile
        st.session_state.pop(BOX, None)
    with st.sidebar:
        picked = st.selectbox(
            "Workspace (admin)", list(labels), key=BOX, persist_state="session",
            format_func=lambda name: labels.get(name, plain(str(name))),
        )  # fmt: skip
    return None if picked == HOST else folders.get(str(picked), own)


def _label(folder: Path) -> str:
    day = datetime.fromtimestamp(last_visit(folder)).strftime("%d %b %Y, %H:%M")
    return f"{folder.name[:8]}, last visit {day}"
