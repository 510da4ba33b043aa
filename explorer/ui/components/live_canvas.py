"""The live canvas, which draws attention in the browser, under the mouse: whole, with few tools, or two in a pair."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from streamlit.components.v2 import component
from streamlit.runtime import get_instance

from explorer.ui.components import asset, script
from explorer.web.payload import (
    FEW_TOOLS,
    RecordingFiles,
    canvas_markup,
    canvas_payload,
    canvas_script,
    recording_files,
)

if TYPE_CHECKING:
    from explorer.attention.recording import Recording
    from explorer.rendering.view import View

HERO = "hero"  # key of the canvas with few tools
# Of this type files travel as they are; of most others Streamlit's server makes gzip of them, slowly, and numbers like
# these don't get smaller by it.
UNCOMPRESSED = "application/zip"
_html, _css = canvas_markup()
_live = component(
    "vit_live_canvas", html=_html, css=_css, js=script(canvas_script(), asset("store.js"), asset("live_canvas.js"))
)
_hero = component(
    "vit_hero", html=_html, css=_css + FEW_TOOLS,
    js=script(canvas_script(), asset("store.js"), asset("last_drawn.js"), asset("live_canvas.js")),
)  # fmt: skip
_words = component(
    "vit_words", html='<p data-part="words"></p>', css=asset("words.css"), js=script(asset("words.js"))
)  # fmt: skip
_SIDES = (
    ".pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(260px, 100%), 1fr)); gap: 20px 32px; }"
    ".pair > div { min-width: 0; } .heading { margin: 0 0 8px; font-family: var(--st-font); font-size: 15px; }"
    ".heading { color: var(--st-text-color); }"
    ".live { grid-template-columns: minmax(0, 1fr); } .tools, .heads { display: none; }"
)
_side = '<div data-side="{side}"><p class="heading" data-heading></p>{html}</div>'
_linked = component(
    "vit_linked_canvases",
    html=f'<div class="pair">{"".join(_side.format(side=side, html=_html) for side in (0, 1))}</div>',
    css=_css + _SIDES,
    js=script(canvas_script(), asset("linked.js")),
)
_files: "WeakKeyDictionary[Recording, RecordingFiles]" = WeakKeyDictionary()


def live_canvas(payload: bytes, key: str, on_change: Callable[[], None]) -> None:
    """Mount the canvas with bytes of canvas_payload(); on_change runs when a person has changed something there.

    st.session_state[key]["view"] is {"shows", "layer", "head", "query", "look", "seq"} then, the query a name or
    [row, col].
    """
    _live(key=key, data=payload, on_view_change=on_change)


def hero(payload: bytes, on_change: Callable[[], None]) -> None:
    """Mount the canvas with few tools; hovering asks any patch, a click pins it and calls on_change.

    Layer and head can be chosen where the payload has steps. st.session_state[HERO]["view"] is what a person changed
    then, as for live_canvas().
    """
    _hero(key=HERO, data=payload, on_view_change=on_change)


def words(grid: tuple[int, int], depth: int) -> None:
    """Mount words that say what the canvas of this page shows. grid: (rows, cols); depth: layers of the model."""
    _words(key="words", data={"cols": grid[1], "depth": depth})


def linked_canvases(sides: Sequence[tuple[str, bytes]], key: str, on_change: Callable[[], None]) -> None:
    """Mount two, each with a heading and a payload of canvas_payload(); where it is narrow, one below the other.

    Hovering or clicking one asks the same place of the other. on_change runs after a click or a key;
    st.session_state[key]["view"] is {"query", "seq"} then, the query in the first one's grid.
    """
    parts = [part for heading, payload in sides for part in (heading.encode(), payload)]
    _linked(key=key, data=b"".join(len(part).to_bytes(8, "little") + part for part in parts), on_view_change=on_change)


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
