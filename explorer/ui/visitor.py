"""Whose session this is, where the app has many visitors: a login or a cookie names its workspace.

Home.py begins every run with enter(). What runs without it, as callbacks, fragments and the thread of a download, finds
its workspace by the session; other threads get theirs from paths.for_same_visitor().
"""

import hmac
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Lock, Thread

import streamlit as st
from filelock import FileLock
from streamlit.runtime import exists, get_instance
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.scriptrunner import get_script_run_ctx

from explorer import paths
from explorer.errors import ModelError, SettingsError, TrainingError
from explorer.training.runs.jobs import list_runs
from explorer.ui.messages import plain, sentence_of
from explorer.ui.visitor_files import begin_anew, pick_workspace, your_files
from explorer.visitors.cookie import NAME
from explorer.visitors.quotas import free_bytes
from explorer.visitors.settings import has_visitors, settings
from explorer.visitors.workspace import ID, delete_unvisited, folder_of, new_id, note_visit
from explorer.web.welcome import LOGIN

ADMIN = "admin"  # of the address: `?admin=1` shows the field for the token
SWEEP = 60 * 60  # seconds between two looks for workspaces that nobody visits any more
MOST_SESSIONS = 1000  # that are remembered before those that ended are forgotten
GUESSES = 5  # at the token, in one session
SAID = 100 * 2**20  # bytes of an upload above a visitor's room that are let in
_ME, _ADMIN, _WRONG = "visitor", "visitor_is_admin", "wrong_tokens"
_folders: dict[str, Path | None] = {}  # of each session; None: the host's own folders, for an admin
_swept: list[float] = []  # when that was done last
_starting = Lock()


def enter() -> None:
    """Find out whose run this is; with a login configured, nobody gets further without one.

    Nor with a setting of the host's that can't be used: the page says which.
    """
    try:
        settings()
    except SettingsError as error:
        st.error(sentence_of(error), icon=":material/error:")
        st.stop()
    if not has_visitors():
        return
    paths.find_workspace_with(_of_this_session)
    identity = _logged_in() or _by_cookie()
    if st.session_state.get(_ME, identity) != identity:  # another login in this window
        st.session_state.clear()
    st.session_state[_ME] = identity
    context = get_script_run_ctx()
    assert context
    _forget_ended_sessions()
    own = folder_of(identity)
    shown = pick_workspace(own) if is_admin() else own
    before, _folders[context.session_id] = _folders.get(context.session_id, shown), shown
    note_visit(own)
    _sweep()
    if before != shown:  # an admin looks into another
        begin_anew()


def panel() -> None:
    """The end of the sidebar: a visitor's files, and logging out."""
    if not has_visitors():
        return
    own = paths.workspace()
    if own:
        your_files(own)
    if "is_logged_in" in st.user:
        st.caption(plain(str(st.user.get("email") or st.user.get("name") or "")))
        st.button("Log out", on_click=st.logout, type="tertiary", icon=":material/logout:")
    else:
        _ask_for_token()


def why_not_train() -> str:
    """Why nothing can be trained now: in a demonstration, and while the visitor's last training goes on; else ""."""
    if settings().demo:
        return "This is a demonstration, which trains no models: install the explorer to train your own."
    active = None if paths.workspace() is None else next((run for run in list_runs() if run.state.active), None)
    return f"One training at a time: {active.name} is {active.state.status}. Wait for it, or stop it." if active else ""


def check_may_train() -> None:
    """Raise TrainingError where nothing can be trained now; what it finds stays true within starting()."""
    if why := why_not_train():
        raise TrainingError(why)


@contextmanager
def starting() -> Iterator[None]:
    """For a block that starts a training: meanwhile no other window starts one, nor another server for this visitor."""
    own = paths.workspace()
    with _starting, FileLock(own / ".starting.lock") if own else nullcontext():
        yield


def check_may_type(text: str) -> None:
    """Raise ModelError where only the models on offer are shown."""
    if settings().demo:
        raise ModelError(f"This is a demonstration, which shows only the models in the list, not '{text}'.")


def may_upload_weights() -> bool:
    """Whether weights can be uploaded; a sentence says so where not."""
    if settings().demo:
        st.caption("This is a demonstration: install the explorer to open weights of your own, or any id.")
    return not settings().demo


def room_for_upload(session: str) -> int:
    """Bytes that this session may send: what its visitor has left, without what lies in Streamlit's memory already.

    And a little more: of that the page says in a sentence why it isn't kept, a browser only "status code 413".
    """
    if session not in _folders or not exists():
        return 0
    own, manager = _folders[session], get_instance().uploaded_file_mgr
    if own is None or not isinstance(manager, MemoryUploadedFileManager):
        return sys.maxsize
    held = manager.file_storage.get(session, {})
    return SAID + free_bytes(own) - sum(len(file.data) for file in list(held.values()))


def is_admin() -> bool:
    """Whether this session may look into every workspace: by the e-mail address of its login, or the host's token."""
    if "is_logged_in" in st.user:
        verified = str(st.user.get("email_verified", True)).lower() == "true"  # some providers send it as a text
        return verified and str(st.user.get("email") or "").strip().lower() in settings().admins
    return bool(st.session_state.get(_ADMIN)) and bool(settings().admin_token)


def _of_this_session() -> Path | None:
    """The workspace of the session that this thread runs for; LookupError in any other thread, never the host's."""
    if not has_visitors():
        return None
    context = get_script_run_ctx(suppress_warning=True)
    if context is None:
        raise LookupError("this thread works for no visitor: hand its work over with paths.for_same_visitor()")
    return _folders[context.session_id]


def _logged_in() -> str | None:
    """Who logged in; None where no login is configured."""
    if "is_logged_in" not in st.user:
        return None
    if not st.user.is_logged_in:
        _show_login()
        st.stop()
    return f"login:{st.user.get('iss')}:{st.user.get('sub') or st.user.get('email')}"


def _show_login() -> None:
    st.title("See where a Vision Transformer looks", anchor=False)
    st.write("Log in to begin: your photos, data, models and trainings are yours alone.")
    auth = st.secrets["auth"]
    providers: list[str | None] = [None] if "client_id" in auth else []
    # Each [auth.NAME]; client_kwargs is a table, too.
    providers += [name for name, value in auth.items() if isinstance(value, Mapping) and "client_id" in value]
    with st.container(key=LOGIN, horizontal=True):
        for name in providers or [None]:
            label = f"Log in with {plain(name)}" if name else "Log in"
            st.button(label, type="primary", on_click=st.login, args=(name,), icon=":material/login:")


def _by_cookie() -> str:
    """The visitor that the browser's cookie names; a new one where it has no valid cookie."""
    if _ME in st.session_state:
        return st.session_state[_ME]
    sent = str(st.context.cookies.get(NAME, ""))
    return f"cookie:{sent if ID.fullmatch(sent) else new_id()}"


def _ask_for_token() -> None:
    """The field by which the host becomes an admin, where the address asks for it."""
    if not settings().admin_token or is_admin() or ADMIN not in st.query_params:
        return
    if st.session_state.get(_WRONG, 0) >= GUESSES:
        st.caption("Too many wrong tokens: open a new window.")
        return
    typed = st.text_input("Admin token", type="password", key="admin_token")
    if typed:
        time.sleep(1)  # a guess costs time
        right = hmac.compare_digest(typed.encode(), settings().admin_token.encode())
        st.session_state[_ADMIN] = right
        st.session_state[_WRONG] = st.session_state.get(_WRONG, 0) + (not right)
        if right:
            st.rerun()
        st.error("That is not the token.")


def _forget_ended_sessions() -> None:
    if len(_folders) > MOST_SESSIONS and exists():
        for session in [session for session in _folders if not get_instance().is_active_session(session)]:
            _folders.pop(session, None)


def _sweep() -> None:
    """Delete the workspaces that nobody visited for long, once an hour, in a thread that nobody waits for."""
    now = time.monotonic()
    if not _swept or now - _swept[-1] > SWEEP:
        _swept[:] = [now]
        Thread(target=delete_unvisited, args=(settings().days,), name="sweep", daemon=True).start()
