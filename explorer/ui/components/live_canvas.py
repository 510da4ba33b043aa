"""The live canvas: a Streamlit component that computes and draws attention in the browser, under the mouse."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from streamlit.components.v2 import component
from streamlit.runtime import get_instance

from explorer.ui.components import asset, script
from explorer.web.payload import RecordingFiles, canvas_markup, canvas_payload, canvas_script, recording_files

if TYPE_CHECKING:
    from explorer.attention.recording import Recording
    from explorer.rendering.view import View

CANVAS_SCRIPT = script(canvas_script(), asset("store.js"), asset("live_canvas.js"))
# Of this type files travel as they are; of most others Streamlit's server makes gzip of them, slowly, and numbers like
# these don't get smaller by it.
UNCOMPRESSED = "application/zip"
_html, _css = canvas_markup()
_component = component("vit_live_canvas", html=_html, css=_css, js=CANVAS_SCRIPT)
_files: "WeakKeyDictionary[Recording, RecordingFiles]" = WeakKeyDictionary()


def live_canvas(payload: bytes, key: str, on_change: Callable[[], None]) -> None:
    """Mount the canvas with bytes of canvas_payload(); on_change runs when a person has changed something there.

    st.session_state[key]["view"] is {"shows", "layer", "head", "query", "look", "seq"} then, the query a name or
    [row, col].
    """
    _component(key=key, data=payload, on_view_change=on_change)


def streamed_payload(rec: "Recording", view: "View", **settings: Any) -> bytes:
    """canvas_payload() of settings alone: photo and layers are files, each sent once to a browser and kept there.

    Call it in every run that shows the canvas: the server forgets files that the newest run didn't name.
    """
    files = _files_of(rec)
    urls = {
        "photo": _served(files.photo, "photo", files.key),
        "layers": [_served(layer, f"layer-{index}", files.key) for index, layer in enumerate(files.layers)],
    }
    return canvas_payload(rec, view, files=files, urls=urls, steps=True, **settings)


def has_all_layers(rec: "Recording") -> bool:
    """Whether the canvas gets every layer, so that it can compute a rollout."""
    return bool(_files_of(rec).layers)


def _files_of(rec: "Recording") -> RecordingFiles:
    return _files.get(rec) or _files.setdefault(rec, recording_files(rec))


def _served(content: bytes, place: str, key: str) -> str:
    """The path at which this server answers with the content; behind # the name by which a browser keeps it."""
    path = get_instance().media_file_mgr.add(content, UNCOMPRESSED, f"vit canvas {place}")
    return f"{path}#{key}-{place}"
