"""The live canvas in one HTML file: hovering works offline, with nothing to install."""

import base64
from collections.abc import Iterator
from html import escape
from string import Template
from typing import TYPE_CHECKING, Any

from safetensors.numpy import load

from explorer.attention.maps.table import MAP_KINDS
from explorer.errors import QueryError
from explorer.rendering.figures import title
from explorer.rendering.view import View
from explorer.web.payload import (
    BYTE_LIMIT,
    RecordingFiles,
    canvas_markup,
    canvas_payload,
    canvas_script,
    recording_files,
)

if TYPE_CHECKING:
    from explorer.attention.recording import Recording

SMALL = 3_400_000  # bytes of q and k in float32 up to here
ALL = 16 * 2**20  # bytes of q and k of all layers in float16 up to here: a third more in the file
PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="vit-explorer">
<meta name="explorer" content="$settings">
<title>$title</title>
<style>
:root { color-scheme: light dark; }
body { margin: 0 auto; padding: 24px; max-width: 1180px; font-family: system-ui, sans-serif; }
body { background: var(--st-background-color, #ffffff); color: var(--st-text-color, #1c1917); }
h1 { font-size: 20px; margin: 0 0 16px; }
@media (prefers-color-scheme: dark) {
  :root {
    --st-primary-color: #fb923c; --st-text-color: #f5f5f4; --st-background-color: #171412;
    --st-secondary-background-color: #292524; --st-border-color: rgba(168, 162, 158, 0.35);
  }
}
$css
</style>
</head>
<body>
<h1>$title</h1>
$markup
<script id="payload" type="application/octet-stream;base64">$payload</script>
$layers
<script type="module">
$script
const decode = (element) => Uint8Array.from(atob(element.textContent), (character) => character.charCodeAt(0));
const view = new LiveView(document.body);
view.update(decode(document.getElementById("payload")));
for (const layer of document.querySelectorAll("script[data-file]")) {
  await new Promise((resolve) => setTimeout(resolve)); // the first picture comes before the other layers
  view.addLayer(decode(layer));
  layer.remove();
}
</script>
</body>
</html>
""")


def live_page(view: View, recording: "Recording", limit: int = ALL) -> str:
    """The view as a page of its own, which asks no server for anything: all layers where they are small enough.

    q and k of all layers are kept where they take at most `limit` bytes in float16; above that those of the view's
    layer, in a page below 5 MB where float16 allows it. Raises QueryError for a kind of map that the canvas doesn't
    begin with.
    """
    if not view.map.row.live:
        live = " and ".join(name for name, kind in MAP_KINDS.items() if kind.live)
        raise QueryError(f"The live page shows {live}, not {view.map.kind}: save a PNG, NPZ or figure of it.")
    files = recording_files(recording, min(SMALL, limit), limit)
    sent: dict[str, Any] = {"files": files, "steps": files.precision is not None, "classes": True}
    payload = canvas_payload(recording, view, limit=SMALL, **sent)
    if "k" not in load(payload):
        payload = canvas_payload(recording, view, limit=BYTE_LIMIT, **sent)
    markup, css = canvas_markup()
    return PAGE.substitute(
        title=escape(title(view, recording)),
        settings=escape(view.to_json(), quote=True),
        css=css,
        markup=markup,
        script=canvas_script(),
        payload=base64.b64encode(payload).decode(),
        layers="\n".join(_scripts(files, but=view.map["layer"] % recording.depth)),
    )


def _scripts(files: RecordingFiles, but: int) -> Iterator[str]:
    """Each layer but one, for after the first picture."""
    for layer, content in enumerate(files.layers):
        if layer != but:
            text = base64.b64encode(content).decode()
            yield f'<script data-file type="application/octet-stream;base64">{text}</script>'
