"""The live canvas in one HTML file: hovering works offline, with nothing to install."""

from typing import TYPE_CHECKING, Any

from explorer.attention.maps.table import MAP_KINDS
from explorer.errors import QueryError
from explorer.rendering.figures import title
from explorer.rendering.view import View
from explorer.web.canvas_page import canvas_page
from explorer.web.payload import BYTE_LIMIT, canvas_payload, recording_files

if TYPE_CHECKING:
    from explorer.attention.recording import Recording

SMALL = 3_400_000  # bytes of q and k in float32 up to here
ALL = 16 * 2**20  # bytes of q and k of all layers in float16 up to here: a third more in the file


def live_page(view: View, recording: "Recording", limit: int = ALL) -> str:
    """The view as a page of its own, which asks no server for anything: all layers where they are small enough.

    q and k of all layers are kept where they take at most `limit` bytes in float16; above that those of the view's
    layer, in float16 where float32 would make the page larger than 5 MB. Raises QueryError for a kind of map that the
    canvas doesn't begin with.
    """
    if not view.map.row.live:
        live = " and ".join(name for name, kind in MAP_KINDS.items() if kind.live)
        raise QueryError(f"The live page shows {live}, not {view.map.kind}: save a PNG, NPZ or figure of it.")
    files = recording_files(recording, min(SMALL, limit), limit)
    sent: dict[str, Any] = {"files": files, "steps": files.precision is not None, "classes": True}
    payload = canvas_payload(recording, view, exact_limit=SMALL, limit=BYTE_LIMIT, **sent)
    shown = view.map["layer"] % recording.depth
    others = tuple(content for layer, content in enumerate(files.layers) if layer != shown)
    return canvas_page(title(view, recording), payload, others, view.to_json())
